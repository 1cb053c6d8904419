import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type AddressInfo } from "node:net";
import { join } from "node:path";

const repository = join(__dirname, "..", "..");

export interface DocsBlock {
  readonly file: string;
  readonly code: string;
}

/** Reads the TypeScript blocks of Markdown files. */
export function docsBlocks(files: readonly string[]): DocsBlock[] {
  return files.flatMap((file) => {
    const blocks = readFileSync(join(repository, file), "utf8").matchAll(/^```ts\n(.*?)^```$/gms);
    return [...blocks].map(([, code = ""]) => ({ file, code }));
  });
}

/** A block of the documentation in a process of its own, which ends with the standard input unless it ends before. */
export class RunningBlock {
  output = "";
  readonly #process: ChildProcess;
  readonly #folder: string;
  /** The exit code, or the signal that ended the process. */
  readonly ended: Promise<number | string | null>;

  constructor(code: string, env: NodeJS.ProcessEnv) {
    // Inside the repository, so that imports find its node_modules and its paths.
    mkdirSync(join(repository, ".tmp"), { recursive: true });
    this.#folder = mkdtempSync(join(repository, ".tmp", "docs-block-"));
    const path = join(this.#folder, "block.mts");
    writeFileSync(path, code);
    this.#process = spawn(process.execPath, ["--import", "tsx", path], {
      cwd: repository,
      env: { ...process.env, ...env },
    });
    for (const stream of [this.#process.stdout, this.#process.stderr]) {
      stream?.setEncoding("utf8").on("data", (text: string) => (this.output += text));
    }
    this.ended = once(this.#process, "close").then(([exitCode, signal]) => {
      rmSync(this.#folder, { recursive: true, force: true });
      return (exitCode ?? signal) as number | string | null;
    });
  }

  terminate(): void {
    this.#process.kill("SIGTERM");
  }

  endInput(): void {
    this.#process.stdin?.end();
  }

  async kill(): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.ended;
  }
}

/** A free port, at which nothing listens. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
