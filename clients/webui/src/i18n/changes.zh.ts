/** Why a job's state changed, after what the gateway writes of it; the words of trainers and of failures stay as they are. */

import { saidBy, type Phrases } from "./phrases";

const CHANGES: Phrases = [
  [/^accepted$/, () => "已接受"],
  [/^(?:cancelled|paused|resumed) by request$/, () => "应用户要求"],
  [/^the trainer had no room$/, () => "训练服务没有空位"],
  [/^attempt (\d+)$/, (attempt) => `第 ${attempt} 次尝试`],
  [/^attempt (\d+) goes on from step (\d+)$/, (attempt, step) => `第 ${attempt} 次尝试，从第 ${step} 步继续`],
  [/^running on (\S+)$/, (device) => `设备 ${device}`],
  [/^paused at step (\d+)$/, (step) => `停在第 ${step} 步`],
  [/^out of memory; next attempt at half the micro-batch$/, () => "内存不足，下一次尝试的批量减半"],
  [/^the kernel killed the worker for want of memory$/, () => "内存不足，工作进程被系统终止"],
  [/^the worker reported nothing for too long and was killed$/, () => "工作进程太久没有消息，已被终止"],
  [/^the trainer was stopped$/, () => "训练服务已停止"],
  [/^the trainer was restarted$/, () => "训练服务已重启"],
  [/^the worker was killed by signal (\d+), cause unknown$/, (signal) => `工作进程被信号 ${signal} 终止，原因不明`],
  [/^the worker ended with exit code (\d+)$/, (code) => `工作进程以退出码 ${code} 结束`],
];

export const changeZh = saidBy(CHANGES);
