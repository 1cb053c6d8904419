import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { delimiter, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { eventually } from "../../spec/support/eventually";
import type { Place } from "./servers";

const root = join(__dirname, "..", "..");
const maxCommandMs = 20_000;

/** Commands that run until they are interrupted: until the next of them, or the end of the page. */
const servers = /\b(?:kojin-postgres (?:watch|dashboard|relay)|tsx server)\b(?!.*--for)/;
/** Servers that print nothing, but listen at the port of the page. */
const quietServers = /\btsx server\b/;

/** Commands that may not be installed. */
const optionalTools = ["psql", "jq", "curl"];

/**
 * Commands of a reader's shell. `npx` finds the installed packages, and `npm install` finds them installed, since
 * nothing is downloaded here. Scripts and not functions, so that a signal reaches the program itself.
 */
const scripts = {
  npx: 'exec "$@"',
  "kojin-postgres": `exec "${process.execPath}" "${join(root, "dist", "cli", "main.js")}" "$@"`,
  npm: `
[ "$1" = install ] || { echo "npm $1 is not run here"; exit 1; }
shift
for name; do case $name in -*|kojin-postgres) ;; *) [ -d "${join(root, "node_modules")}/$name" ] || exit 1;; esac; done`,
};

/** A shell in a folder that `npm init -y` has made, in which the blocks of a page run one after another. */
export class PageShell {
  readonly #folder: string;
  readonly #place: Place;
  readonly #shell: ChildProcess;
  #output = "";
  /** The command of the server that runs now. */
  #server: string | undefined;

  /** @param folder - An empty folder inside this repository, so that imports find its node_modules. */
  constructor(folder: string, place: Place) {
    this.#folder = folder;
    this.#place = place;
    mkdirSync(join(folder, "node_modules"), { recursive: true });
    mkdirSync(join(folder, "bin"));
    symlinkSync(root, join(folder, "node_modules", "kojin-postgres"));
    writeFileSync(join(folder, "package.json"), JSON.stringify({ name: "app", type: "commonjs" }));
    for (const [name, script] of Object.entries(scripts))
      writeFileSync(join(folder, "bin", name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
    const path = [join(folder, "bin"), join(root, "node_modules", ".bin"), process.env["PATH"] ?? ""].join(delimiter);
    this.#shell = spawn("bash", ["--norc"], {
      cwd: folder,
      // A process group, by which whatever is left can be ended.
      detached: true,
      env: { ...process.env, PATH: path, DATABASE_URL: place.url, ...libpqVariables(place.url) },
    });
    for (const stream of [this.#shell.stdout, this.#shell.stderr])
      stream?.setEncoding("utf8").on("data", (text: string) => (this.#output += text));
  }

  save(name: string, text: string): void {
    writeFileSync(join(this.#folder, name), this.#place.adapt(text));
  }

  /** Runs the commands of a block, and returns what is wrong with them and which were skipped. */
  async run(code: string): Promise<{ faults: string[]; skipped: string[] }> {
    const faults: string[] = [];
    const skipped: string[] = [];
    const add = (command: string, status: string): void => {
      if (status !== "0") faults.push(`"${command}" ended with ${status}:\n${this.#output}`);
    };
    let beside: string | undefined;
    for (const command of commandsOf(this.#place.adapt(code))) {
      const missing = await this.#missingFor(command);
      if (missing !== undefined) skipped.push(`${missing} is not installed: ${command}`);
      else if (servers.test(command)) {
        faults.push(...(await this.#endServer()));
        add(command, await this.#serve(command));
      } else if (command.endsWith("&")) {
        this.#send(`${command}\nlast_job=$!`);
        beside = command;
      } else add(command, await this.#finish(command));
    }
    if (beside !== undefined) add(beside, await this.#finish("wait $last_job"));
    return { faults, skipped };
  }

  /** Ends the server that runs, if one does, and the shell. Returns what is wrong with their end. */
  async end(): Promise<string[]> {
    const faults = await this.#endServer();
    if (this.#shell.pid !== undefined) process.kill(-this.#shell.pid, "SIGKILL");
    return faults;
  }

  async #missingFor(command: string): Promise<string | undefined> {
    for (const tool of optionalTools) {
      const isUsed = new RegExp(`(?:^|\\| )${tool}\\b`).test(command);
      if (isUsed && (await this.#finish(`command -v ${tool}`)) !== "0") return tool;
    }
    return undefined;
  }

  async #finish(command: string): Promise<string> {
    this.#output = "";
    this.#send(`${command}\necho "[status $?]"`);
    return this.#printed(/\[status (\d+)\]\n/);
  }

  async #serve(command: string): Promise<string> {
    this.#output = "";
    this.#server = command;
    this.#send(`${command} &\nserver=$!`);
    return quietServers.test(command) ? this.#listens() : this.#printed(/\S/);
  }

  async #endServer(): Promise<string[]> {
    if (this.#server === undefined) return [];
    const server = this.#server;
    this.#server = undefined;
    const status = await this.#finish("kill -TERM $server; wait $server");
    if (status === "late") this.#send("kill -KILL $server");
    return ["0", "143"].includes(status) ? [] : [`"${server}" ended with ${status}:\n${this.#output}`];
  }

  async #listens(): Promise<string> {
    const isUp = async (): Promise<unknown> => once(connect(this.#place.port, "127.0.0.1"), "connect");
    return eventually(isUp, { timeoutMs: maxCommandMs }).then(
      () => "0",
      () => "late",
    );
  }

  /** Resolves with the group of a pattern in the output, or with "late". */
  async #printed(pattern: RegExp): Promise<string> {
    const endsAt = performance.now() + maxCommandMs;
    while (performance.now() < endsAt) {
      const found = pattern.exec(this.#output);
      if (found !== null) return found[1] ?? "0";
      await sleep(10);
    }
    return "late";
  }

  #send(text: string): void {
    this.#shell.stdin?.write(`${text}\n`);
  }
}

/** Splits a block into commands, with their continued lines and without comments. Nothing is watched for a minute. */
function commandsOf(code: string): string[] {
  const lines = code
    .replaceAll("\\\n", " ")
    .replace(/--for 1m/g, "--for 1s")
    .replace(/^curl -N .*/gm, "$& --max-time 2 || [[ $? = 28 ]]")
    .split("\n");
  return lines.map((line) => line.replace(/\s+#\s.*$|^#.*$/, "").trim()).filter((line) => line !== "");
}

/** So that psql needs no address. */
function libpqVariables(address: string): NodeJS.ProcessEnv {
  const { hostname, port, username, password, pathname } = new URL(address);
  const [PGUSER, PGPASSWORD] = [username, password].map(decodeURIComponent);
  return { PGHOST: hostname, PGPORT: port, PGUSER, PGPASSWORD, PGDATABASE: pathname.slice(1) };
}
