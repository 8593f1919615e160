/** A ZIP of files as they are, nothing squeezed: its bytes stay where the files lie, only their checksums are computed. */

export interface Packed {
  path: string;
  file: Blob;
}

const PIECE = 4 << 20;
const LIMIT = 0xffff_ffff;
const MANY = 0xffff;
/** UTF-8 names. */
const FLAGS = 0x0800;
/** 1 January 1980: the same files give the same bytes. */
const DATE = 0x21;
const MODE = 0o100644;

/** Eight tables, so that eight bytes are taken at a time. */
const TABLES = (() => {
  const tables = Array.from({ length: 8 }, () => new Uint32Array(256));
  for (let byte = 0; byte < 256; byte++) {
    let value = byte;
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0xedb8_8320 : value >>> 1;
    tables[0]![byte] = value;
  }
  for (let byte = 0; byte < 256; byte++)
    for (let at = 1; at < 8; at++) {
      const before = tables[at - 1]![byte]!;
      tables[at]![byte] = tables[0]![before & 0xff]! ^ (before >>> 8);
    }
  return tables as unknown as readonly [Uint32Array, Uint32Array, Uint32Array, Uint32Array, Uint32Array, Uint32Array, Uint32Array, Uint32Array];
})();

/** The CRC-32 of what came before, `crc`, with these bytes after it. */
export function crc32(bytes: Uint8Array, crc = 0): number {
  const [t0, t1, t2, t3, t4, t5, t6, t7] = TABLES;
  let value = ~crc;
  let at = 0;
  for (; at + 8 <= bytes.length; at += 8) {
    value ^= bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    value =
      t7[value & 0xff]! ^ t6[(value >>> 8) & 0xff]! ^ t5[(value >>> 16) & 0xff]! ^ t4[value >>> 24]! ^
      t3[bytes[at + 4]!]! ^ t2[bytes[at + 5]!]! ^ t1[bytes[at + 6]!]! ^ t0[bytes[at + 7]!]!;
  }
  for (; at < bytes.length; at++) value = t0[(value ^ bytes[at]!) & 0xff]! ^ (value >>> 8);
  return ~value >>> 0;
}

/** Reads all files once for their checksums, then makes the ZIP. */
export async function zipOf(files: readonly Packed[], onRead: (bytes: number) => void, signal: AbortSignal): Promise<Blob> {
  const sums: number[] = [];
  let read = 0;
  for (const { file } of files) {
    let sum = 0;
    for (let at = 0; at < file.size; at += PIECE) {
      signal.throwIfAborted();
      const piece = new Uint8Array(await file.slice(at, at + PIECE).arrayBuffer());
      sum = crc32(piece, sum);
      onRead((read += piece.length));
    }
    sums.push(sum);
  }
  return archive(files, sums);
}

/** The ZIP, where the checksums are known. Files, or a whole, beyond 4 GiB are written as ZIP64. */
export function archive(files: readonly Packed[], sums: readonly number[]): Blob {
  const parts: BlobPart[] = [];
  const directory: Uint8Array<ArrayBuffer>[] = [];
  let offset = 0;
  files.forEach(({ path, file }, index) => {
    const entry = { name: new TextEncoder().encode(path), size: file.size, sum: sums[index]!, offset };
    const head = localHeader(entry);
    parts.push(head, file);
    directory.push(directoryEntry(entry));
    offset += head.length + file.size;
  });
  const length = directory.reduce((sum, each) => sum + each.length, 0);
  return new Blob([...parts, ...directory, end(files.length, length, offset)], { type: "application/zip" });
}

interface Entry {
  name: Uint8Array;
  size: number;
  sum: number;
  offset: number;
}

const short = (size: number) => Math.min(size, LIMIT);

function localHeader({ name, size, sum }: Entry): Uint8Array<ArrayBuffer> {
  const large = size >= LIMIT;
  const bytes = new Bytes();
  bytes.u32(0x0403_4b50).u16(large ? 45 : 20).u16(FLAGS).u16(0).u16(0).u16(DATE).u32(sum);
  bytes.u32(short(size)).u32(short(size)).u16(name.length).u16(large ? 20 : 0).raw(name);
  if (large) bytes.u16(1).u16(16).u64(size).u64(size);
  return bytes.done();
}

function directoryEntry({ name, size, sum, offset }: Entry): Uint8Array<ArrayBuffer> {
  const extra = new Bytes();
  if (size >= LIMIT) extra.u64(size).u64(size);
  if (offset >= LIMIT) extra.u64(offset);
  const wide = extra.done();
  const bytes = new Bytes();
  bytes.u32(0x0201_4b50).u16((3 << 8) | 45).u16(wide.length ? 45 : 20).u16(FLAGS).u16(0).u16(0).u16(DATE).u32(sum);
  bytes.u32(short(size)).u32(short(size)).u16(name.length).u16(wide.length && wide.length + 4).u16(0).u16(0).u16(0);
  bytes.u32(MODE * 0x1_0000).u32(short(offset)).raw(name);
  if (wide.length) bytes.u16(1).u16(wide.length).raw(wide);
  return bytes.done();
}

function end(count: number, length: number, offset: number): Uint8Array<ArrayBuffer> {
  const bytes = new Bytes();
  if (count >= MANY || length >= LIMIT || offset >= LIMIT) {
    bytes.u32(0x0606_4b50).u64(44).u16((3 << 8) | 45).u16(45).u32(0).u32(0).u64(count).u64(count).u64(length).u64(offset);
    bytes.u32(0x0706_4b50).u32(0).u64(offset + length).u32(1);
  }
  const few = Math.min(count, MANY);
  bytes.u32(0x0605_4b50).u16(0).u16(0).u16(few).u16(few).u32(short(length)).u32(short(offset)).u16(0);
  return bytes.done();
}

/** Little-endian numbers, one after another. */
class Bytes {
  private readonly list: number[] = [];

  u16 = (value: number) => this.put(value, 2);
  u32 = (value: number) => this.put(value, 4);
  u64 = (value: number) => this.put(value, 8);
  raw = (bytes: Uint8Array) => {
    this.list.push(...bytes);
    return this;
  };
  done = () => Uint8Array.from(this.list);

  private put(value: number, count: number): this {
    let left = value;
    for (let each = 0; each < count; each++) {
      this.list.push(left % 256);
      left = Math.floor(left / 256);
    }
    return this;
  }
}
