/** A metric's points in growable typed arrays: all of them, in the order of their steps. */

import type { Column } from "../api/metrics";

export class Curve {
  static of(column: Column): Curve {
    const curve = new Curve();
    curve.steps = column.steps;
    curve.numbers = column.values;
    curve.epochsOf = column.epochs;
    curve.timesOf = column.timesMs;
    curve.length = column.steps.length;
    return curve;
  }

  private steps = new Float64Array(1024);
  private numbers = new Float64Array(1024);
  private epochsOf = new Float64Array(1024);
  private timesOf = new Float64Array(1024);
  length = 0;

  push(step: number, value: number, epoch: number, time: number) {
    if (this.length === this.steps.length) this.grow(Math.max(1024, this.length * 2));
    this.steps[this.length] = step;
    this.numbers[this.length] = value;
    this.epochsOf[this.length] = epoch;
    this.timesOf[this.length] = time;
    this.length += 1;
  }

  /** Drops the points beyond a step: a later attempt, or a training that went back, makes them anew. */
  cut(afterStep: number) {
    while (this.length > 0 && this.steps[this.length - 1]! > afterStep) this.length -= 1;
  }

  get x(): Float64Array {
    return this.steps.subarray(0, this.length);
  }
  get values(): Float64Array {
    return this.numbers.subarray(0, this.length);
  }
  get epochs(): Float64Array {
    return this.epochsOf.subarray(0, this.length);
  }
  get times(): Float64Array {
    return this.timesOf.subarray(0, this.length);
  }
  get last(): number | undefined {
    return this.length ? this.numbers[this.length - 1] : undefined;
  }

  private grow(room: number) {
    const moved = (old: Float64Array) => {
      const fresh = new Float64Array(room);
      fresh.set(old);
      return fresh;
    };
    this.steps = moved(this.steps);
    this.numbers = moved(this.numbers);
    this.epochsOf = moved(this.epochsOf);
    this.timesOf = moved(this.timesOf);
  }
}

const SPAN = 1000;

/**
 * A debiased exponential mean over all points. Its weight is scaled by the distance of steps over the planned
 * ones, so that a setting looks alike whatever the length of the training, and the past does not shift.
 */
export function smoothed(x: Float64Array, values: Float64Array, weight: number, plannedSteps: number): Float64Array {
  const result = new Float64Array(values.length);
  const scale = SPAN / Math.max(1, plannedSteps);
  let mean = 0;
  let norm = 0;
  // The first value weighs as much as if one had come before it as far away as the second.
  let before = x.length > 1 ? x[0]! - (x[1]! - x[0]!) : (x[0] ?? 0);
  // Steps are mostly equally far apart: the power is worked out where the distance changes.
  let distance = -1;
  let kept = 0;
  for (let i = 0; i < values.length; i++) {
    const value = values[i]!;
    if (!Number.isFinite(value)) {
      result[i] = NaN;
      continue;
    }
    if (x[i]! - before !== distance) {
      distance = x[i]! - before;
      kept = Math.pow(weight, Math.max(1e-9, distance * scale));
    }
    before = x[i]!;
    mean = mean * kept + value * (1 - kept);
    norm = norm * kept + (1 - kept);
    result[i] = mean / norm;
  }
  return result;
}
