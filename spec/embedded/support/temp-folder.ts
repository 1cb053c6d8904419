import { chmodSync, mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const folders: string[] = [];

/** A temporary folder that every account may enter, as the server's has to; removed after the spec file. */
export function tempFolder(): string {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), "embedded-spec-")));
  folders.push(folder);
  chmodSync(folder, 0o755);
  return folder;
}

afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true, maxRetries: 10, retryDelay: 50 });
});
