import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";

/** The findings about a file: JSON, since it becomes the result of a task. */
export interface Fingerprint {
  readonly sizeBytes: number;
  /** Line breaks, as `wc -l` counts them. */
  readonly lines: number;
  /** In hexadecimal. */
  readonly sha256: string;
}

const lineEnd = "\n".charCodeAt(0);

/** Reads the file once, in pieces, whatever its size. Rejects as `node:fs` does. */
export async function fingerprint(path: string): Promise<Fingerprint> {
  const hash = createHash("sha256");
  let sizeBytes = 0;
  let lines = 0;
  for await (const piece of createReadStream(path) as AsyncIterable<Buffer>) {
    hash.update(piece);
    sizeBytes += piece.length;
    for (let at = piece.indexOf(lineEnd); at !== -1; at = piece.indexOf(lineEnd, at + 1)) lines += 1;
  }
  return { sizeBytes, lines, sha256: hash.digest("hex") };
}
