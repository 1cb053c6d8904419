import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { inspect, stripVTControlCharacters } from "node:util";
import { runInNewContext } from "node:vm";
import { Pool } from "pg";
import ts from "typescript";
import { PostgresResultBackend } from "../../lib/index";
import type { Block } from "./markdown";
import type { Place, Servers } from "./servers";

/** What surrounds a block: other processes of the application, and code that it only declares. */
export interface Scene {
  /** Values of names that the block declares without a value. */
  readonly globals?: Readonly<Record<string, unknown>>;
  /** Files in the folder of a shell, by name. */
  readonly files?: Readonly<Record<string, string>>;
  /** Runs before the block. What it starts may go on beside it. */
  readonly before?: (stage: Stage) => unknown;
  /** Uses what the block has defined at its top level. */
  readonly after?: (names: Names, stage: Stage) => unknown;
}

/** For scenes: the database of the block, and a backend on it as another process would have one. */
export interface Stage extends Place {
  readonly backend: PostgresResultBackend;
  readonly pool: Pool;
}

// Blocks define what they like, and a scene knows its block.
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export type Names = Record<string, any>;

const maxBlockMs = 20_000;

/** Runs blocks of code in this process, one after another, each as a module with a database of its own. */
export class CodeRunner {
  readonly #servers: Servers;
  readonly #folder: string;
  readonly #scenes: Readonly<Record<string, Scene>>;
  #count = 0;
  #errors: unknown[] = [];
  #output = "";
  /** Output is captured from the construction on, since blocks may go on printing after their end. */
  readonly restoreOutput: () => void;

  constructor(servers: Servers, folder: string, scenes: Readonly<Record<string, Scene>>) {
    this.#servers = servers;
    this.#folder = folder;
    this.#scenes = scenes;
    this.restoreOutput = this.#captureOutput();
    process.on("uncaughtException", (error) => this.#errors.push(error));
    process.on("unhandledRejection", (error) => this.#errors.push(error));
  }

  /** Runs a block, and returns what is wrong with it. */
  async run(block: Block): Promise<string[]> {
    const place = await this.#servers.newPlace();
    const scene = this.#scenes[block.key] ?? {};
    this.#errors = [];
    this.#output = "";
    try {
      const late = sleep(maxBlockMs, new Error(`It has not ended after ${maxBlockMs / 1_000} s.`), { ref: false });
      const error = await Promise.race([this.#play(block, scene, place), late]);
      if (error !== undefined) this.#errors.push(error);
    } catch (error) {
      this.#errors.push(error);
    }
    const faults = this.#errors.map((error) => inspect(error));
    return [...faults, ...unprinted(block.code, stripVTControlCharacters(this.#output))];
  }

  async #play(block: Block, scene: Scene, place: Place): Promise<undefined> {
    const pool = new Pool({ connectionString: place.url, max: 4 });
    pool.on("error", () => undefined);
    const backend = await PostgresResultBackend.connect(place.url);
    const stage = { ...place, backend, pool };
    process.env["DATABASE_URL"] = place.url;
    const own = { backend: await PostgresResultBackend.connect(place.url), pool };
    Object.assign(globalThis, own, scene.globals);
    await scene.before?.(stage);
    const names = (await import(pathToFileURL(this.#write(block, place)).href)) as Names;
    await scene.after?.(names, stage);
    // Whatever still waits or subscribes must expect this.
    const values: unknown[] = Object.values(names);
    for (const each of [...values, own.backend, backend]) if (each instanceof PostgresResultBackend) await each.close();
    // RxJS throws errors that no subscriber handles in a timer.
    await sleep(5);
  }

  #write(block: Block, place: Place): string {
    this.#count += 1;
    const path = join(this.#folder, `block-${this.#count}.mts`);
    const code = place.adapt(block.code);
    // At the lines of the Markdown file, for the stacks of errors.
    writeFileSync(path, "\n".repeat(block.line) + code + exportsOf(code));
    return path;
  }

  /** Returns a function that ends it. */
  #captureOutput(): () => void {
    const streams = [process.stdout, process.stderr];
    const writes = streams.map((stream) => stream.write.bind(stream));
    for (const stream of streams)
      stream.write = (text: string | Uint8Array) => {
        this.#output += String(text);
        return true;
      };
    return () => {
      for (const [index, write] of writes.entries()) Object.assign(streams[index] ?? {}, { write });
    };
  }
}

/** Exports the names at the top level of a module that it does not export itself, for its scene. */
function exportsOf(code: string): string {
  const names = ts.createSourceFile("block.mts", code, ts.ScriptTarget.Latest).statements.flatMap((statement) => {
    const modifiers = ts.canHaveModifiers(statement) ? (ts.getModifiers(statement) ?? []) : [];
    const isOther = ({ kind }: ts.Modifier): boolean =>
      kind === ts.SyntaxKind.ExportKeyword || kind === ts.SyntaxKind.DeclareKeyword;
    if (modifiers.some(isOther)) return [];
    if (ts.isFunctionDeclaration(statement)) return statement.name === undefined ? [] : [statement.name.text];
    if (!ts.isVariableStatement(statement)) return [];
    return statement.declarationList.declarations.flatMap(({ name }) => (ts.isIdentifier(name) ? [name.text] : []));
  });
  return `\nexport { ${names.join(", ")} };\n`;
}

/** Compares the values in comments, as in `console.log(price); // 20`, with the output. */
function unprinted(code: string, output: string): string[] {
  const lines = output.split("\n");
  return [...code.matchAll(/console\.log\(.*\);? *\/\/ (.+)$/gm)].flatMap(([, comment = ""]) => {
    let expected: string;
    try {
      expected = inspect(runInNewContext(`(${comment})`));
    } catch {
      return []; // prose
    }
    const isPrinted = lines.some((line) => line === expected || `'${line}'` === expected);
    return isPrinted ? [] : [`It should print ${expected}, and has printed:\n${output}`];
  });
}
