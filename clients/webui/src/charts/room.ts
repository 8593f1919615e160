/** How far an axis reaches beyond the values that it shows. */

const ROOM = 0.08;

/** The axis' ends. Shares lie between 0 and 1, and so does their axis as long as they do. */
export function withRoom(min: number | null, max: number | null, { areShares = false } = {}): [number, number] {
  if (min === null || max === null) return [0, 1];
  const room = (max - min || Math.abs(max) || 1) * ROOM;
  const [least, most] = [min - room, max + room];
  return [areShares && min >= 0 ? Math.max(0, least) : least, areShares && max <= 1 ? Math.min(1, most) : most];
}
