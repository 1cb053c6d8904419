import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { chownSync, mkdirSync, readdirSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { createInterface } from "node:readline";

const REPOSITORY = resolve(__dirname, "../../..");

/** An account to run a program as; the caller has to be root. */
export interface Identity {
  readonly uid: number;
  readonly gid: number;
}

/** A user's program in a process of its own, with a temporary folder of its own, so that all it leaves is seen. */
export class Program {
  readonly #child: ChildProcess;
  readonly #exited: Promise<[number | null, NodeJS.Signals | null]>;
  readonly #temp: string;

  /**
   * @param temp - A new folder, which becomes its temporary folder.
   * @param end - How the program ends; see the fixture.
   */
  constructor(temp: string, end: string, identity?: Identity) {
    this.#temp = temp;
    mkdirSync(temp, { recursive: true });
    if (identity) chownSync(temp, identity.uid, identity.gid);
    this.#child = spawn(
      process.execPath,
      ["--import", "tsx", join(REPOSITORY, "spec/embedded/fixtures/program.ts"), end],
      {
        cwd: REPOSITORY,
        // The leader of a group, as in a terminal, so that Ctrl-C can be sent to the whole group.
        detached: true,
        env: { ...process.env, TMPDIR: temp, TEMP: temp, TSX_DISABLE_CACHE: "1" },
        stdio: ["ignore", "pipe", "ignore"],
        ...identity,
      },
    );
    this.#exited = once(this.#child, "exit") as Promise<[number | null, NodeJS.Signals | null]>;
  }

  get processId(): number {
    if (this.#child.pid === undefined) throw new Error("expected the program to run");
    return this.#child.pid;
  }

  /** The names in its temporary folder. */
  get leftovers(): string[] {
    return readdirSync(this.#temp).filter((name) => name.startsWith("kojin-postgres-"));
  }

  /** Resolves when its server runs, with the temporary folder and the port of that. */
  async started(): Promise<{ serverFolder: string; port: number }> {
    if (!this.#child.stdout) throw new Error("expected a pipe");
    for await (const line of createInterface(this.#child.stdout)) {
      const { logFile, port } = JSON.parse(line) as { logFile: string; port: number };
      return { serverFolder: dirname(logFile), port };
    }
    throw new Error(`expected the server to start, but the program ended with ${String(await this.#exited)}`);
  }

  /** Resolves with its exit code, or the signal that ended it. */
  async ended(): Promise<number | NodeJS.Signals | null> {
    const [exitCode, signal] = await this.#exited;
    return exitCode ?? signal;
  }
}
