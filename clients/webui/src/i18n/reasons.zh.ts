/** Titles of errors by ErrorReason; the server's own words say more. */
export const reasonsZh: Readonly<Record<string, string>> = {
  INVALID_FIELD: "设置有误",
  REQUEST_ID_REUSED: "该请求编号已用于其他内容",
  INVALID_PAGE_TOKEN: "翻页标记无效",
  MESSAGE_TOO_LARGE: "请求过大",
  UNAUTHENTICATED: "缺少令牌或令牌有误",
  PERMISSION_DENIED: "没有权限",
  JOB_NOT_FOUND: "没有这个任务",
  DATASET_NOT_FOUND: "没有这个数据集",
  MODEL_NOT_FOUND: "没有这个模型",
  ARTIFACT_NOT_FOUND: "没有这个文件",
  ALREADY_EXISTS: "名称已被占用",
  JOB_STATE_CONFLICT: "任务当前状态不允许此操作",
  DATASET_IN_USE: "有任务正在使用该数据集",
  MODEL_IN_USE: "有任务正在使用该模型",
  DATASET_NOT_READY: "数据集尚未就绪",
  DATASET_INVALID: "数据集无法使用",
  UPLOAD_OFFSET_MISMATCH: "上传位置不一致",
  CHECKSUM_MISMATCH: "校验和不一致",
  SOURCE_NOT_ALLOWED: "不允许读取该来源",
  UNKNOWN_BASE_MODEL: "未知的基础模型",
  BASE_MODEL_UNAVAILABLE: "无法获取基础模型",
  NO_TRAINER: "没有配置相应的训练服务",
  TRAINER_UNAVAILABLE: "训练服务没有响应",
  NOT_SUPPORTED: "不支持此操作",
  DOES_NOT_FIT: "没有设备能容纳此任务",
  STORAGE_FULL: "磁盘或存储已满",
  STORE_UNAVAILABLE: "对象存储没有响应",
  DATABASE_UNAVAILABLE: "数据库没有响应",
  STALE_CONTROLLER: "另一个网关已接管",
  STALE_ATTEMPT: "另一次尝试已接管",
  NO_FREE_SLOT: "没有空闲设备",
  RUN_NOT_FOUND: "训练服务中没有这次运行",
  SHUTTING_DOWN: "服务正在停止",
  INTERNAL: "服务器内部错误",
  OUT_OF_MEMORY: "内存不足",
  WORKER_KILLED: "工作进程被终止",
  WORKER_CRASHED: "工作进程崩溃",
  CRASH_LOOP: "反复崩溃",
  RECIPE_FAILED: "训练失败",
  DIVERGED: "训练发散",
  CHECKPOINT_CORRUPT: "检查点已损坏",
  DATASET_UNREADABLE: "数据集无法读取",
  TOO_MANY_REQUESTS: "请求过多",
};

/** Titles of advice by AdviceKind. */
export const adviceZh: Readonly<Record<string, string>> = {
  NOT_DECREASING: "损失没有下降",
  OVERFITTING: "模型过拟合",
  DIVERGING: "训练正在发散",
  DATA_STARVED: "训练在等待数据",
  CLASS_IMBALANCE: "类别不平衡",
  SLOW_TRAINING: "训练缓慢",
  MEMORY: "内存紧张",
};

/** What an advice means, by AdviceKind; the server's own words, which are English, say it with this run's figures. */
export const adviceMeaningZh: Readonly<Record<string, string>> = {
  NOT_DECREASING: "训练损失很久没有明显下降。常见原因是学习率过高或过低，其次是数据或标注有误。",
  OVERFITTING: "训练损失还在下降，验证损失却在上升：模型开始记住训练数据。可增加数据、加强正则化或减少训练轮数。",
  DIVERGING: "损失急剧上升或不再是有限的数。训练已退回到较早的检查点（没有检查点时退回到开头），并降低学习率继续。",
  DATA_STARVED: "设备在等待数据：读取和预处理跟不上计算。可增加线程、减小图像、减少数据增强，或把数据放在更快的磁盘上。",
  CLASS_IMBALANCE: "各类别的样本数相差悬殊，模型会偏向样本多的类别。可使用类别权重，或为小类别收集更多数据。",
  SLOW_TRAINING: "当前设置没有用上更快的设备或精度。",
  MEMORY: "内存不足，每次计算的样本数已减少。每一步使用的样本总数不变，但耗时更长。",
};

const LESS_MEMORY = ["减小批量，并相应增大梯度累积。", "开启梯度检查点。", "减小图像尺寸或最大长度。", "改用更小的基础模型；大语言模型可改用 QLoRA。"];
const AGAIN = ["重新运行任务；若再次出现，请查看日志。"];

/** What to do about a failed job, by ErrorReason, where the reason says what happened; elsewhere only the server's words do. */
export const failureRemediesZh: Readonly<Record<string, readonly string[]>> = {
  OUT_OF_MEMORY: LESS_MEMORY,
  DOES_NOT_FIT: LESS_MEMORY,
  DIVERGED: ["降低学习率。", "增加预热步数。", "检查数据集中是否有异常样本。"],
  WORKER_KILLED: ["查看系统日志中进程被终止的原因；若是内存不足，请减小批量。", ...AGAIN],
  WORKER_CRASHED: AGAIN,
  CRASH_LOOP: ["查看日志中进程每次中断的位置。", "减小批量，或换一台设备后重新运行。"],
  DATASET_INVALID: ["打开数据集页面，按其中的检查结果修正数据，再上传一次。"],
  DATASET_UNREADABLE: ["在数据集页面查看其检查结果，替换或删除损坏的文件。", ...AGAIN],
  DATASET_NOT_FOUND: ["换一个数据集，或重新上传。"],
  MODEL_NOT_FOUND: ["在“模型”页面重新导入该模型，或换一个基础模型。"],
  UNKNOWN_BASE_MODEL: ["换一个基础模型，或先在“模型”页面导入它。"],
  BASE_MODEL_UNAVAILABLE: ["在“模型”页面导入该模型，或换一个基础模型。"],
  CHECKPOINT_CORRUPT: ["从头重新运行任务。"],
  STORAGE_FULL: ["释放磁盘空间，或减少保留的检查点数量。", ...AGAIN],
  STORE_UNAVAILABLE: ["检查对象存储是否可用。", ...AGAIN],
  TRAINER_UNAVAILABLE: ["在“系统”页面查看训练服务是否可用。", ...AGAIN],
};
