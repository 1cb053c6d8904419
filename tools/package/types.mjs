import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { CheckError, install, run } from "./command.mjs";

// Exact versions, so that a new compiler release does not fail an unrelated commit.
const COMPILERS = [
  // The oldest supported version. Two dependencies do not compile there: pg-protocol writes Buffer<ArrayBufferLike>,
  // and @types/node from 22 on needs TypeScript 5.6. So errors count only in our own files, besides a run without those
  // dependencies.
  { name: "typescript-5.4", version: "5.4.5", areDependenciesClean: false },
  { name: "typescript-6", version: "6.0.3", areDependenciesClean: true },
  { name: "typescript-7", version: "7.0.2", areDependenciesClean: true },
];

// `import` in .cts compiles to `require`. The expected errors show that no type of pg, rxjs or ours has become `any`.
const PROGRAM = `
import { Pool } from "pg";
import { lastValueFrom, map, type Observable } from "rxjs";
import { PostgresResultBackend, WaitTimeoutError, defineTask, type ResultBackend, type ResultSchema, type TaskOutcome } from "kojin-postgres";
import { fromKnex, fromPostgresJs } from "kojin-postgres/clients";
import { startEmbeddedPostgres, type EmbeddedPostgres } from "kojin-postgres/embedded";
import { respond, sseGroup } from "kojin-postgres/http";
import type { Notifier } from "kojin-postgres/notifier";
import { awaitResults } from "kojin-postgres/operators";
import { runTask } from "kojin-postgres/queues";

export async function use(pool: Pool): Promise<string> {
  const backend = new PostgresResultBackend(pool, { ttlMs: 60_000 });
  const contract: ResultBackend = backend;
  // @ts-expect-error - a notifier has a name
  const nameless: Notifier = { open: () => ({ source: 1, publisher: 2 }) };
  const disposable: AsyncDisposable = contract;
  await backend.store("task", { text: "value" });
  const stored: { text: string } | undefined = await backend.get<{ text: string }>("task");
  // @ts-expect-error - there may be no result
  const certain: { text: string } = await backend.get<{ text: string }>("task");
  // @ts-expect-error - not a pool
  new PostgresResultBackend(5);
  // @ts-expect-error - not an option
  await PostgresResultBackend.connect({ host: "localhost", port: "no number" }, { ttlSeconds: 1 });
  const stream$: Observable<TaskOutcome<number>> = backend.results$<number>();
  // @ts-expect-error - an outcome and not a number
  const wrong: number = await lastValueFrom(stream$);
  const count = defineTask<number>("count");
  const counted: number = await backend.wait(count.id("a"), 1_000);
  // @ts-expect-error - a number and not a string
  await backend.store(count.id("a"), "one");
  const schema: ResultSchema<{ lines: number }> = {
    "~standard": { version: 1, vendor: "example", validate: () => ({ value: { lines: counted } }) },
  };
  const checked: { lines: number } | undefined = await backend.get("task", { schema });
  // @ts-expect-error - a field of another type
  const unchecked: { lines: string } | undefined = await backend.get("task", { schema });
  const outcomes$: Observable<TaskOutcome<number>> = stream$.pipe(map(({ taskId }) => taskId), awaitResults<number>(backend, { timeoutMs: 1 }));
  const responses: Response[] = [await respond(backend, "task", { waitMs: 1 }), sseGroup(backend, "group")];
  // @ts-expect-error - how long the client may be kept waiting is missing
  await respond(backend, "task", {});
  await backend.store("task", 1, { client: fromKnex({ isTransaction: true, raw: async () => ({ rows: [] }) }) });
  const run: number = await runTask(backend, count.id("b"), () => 1, { attempt: 1, maxAttempts: 2 });
  // @ts-expect-error - not the sql of Postgres.js
  fromPostgresJs(pool);
  const server: EmbeddedPostgres = await startEmbeddedPostgres();
  try {
    return await backend.wait<string>("task", 1_000);
  } catch (error) {
    return error instanceof WaitTimeoutError ? (error.taskId ?? error.groupId ?? "") : [server.url, stored, certain, wrong, disposable, checked, unchecked, outcomes$, responses, run].join();
  }
}
`;
const REQUIRE = `import kojin = require("kojin-postgres");\nexport const name: string = kojin.PostgresResultBackend.name;\n`;

const PROJECTS = {
  node: {
    compilerOptions: { module: "nodenext" },
    files: { "program.mts": PROGRAM, "program.cts": PROGRAM + REQUIRE },
  },
  bundler: {
    compilerOptions: { module: "esnext", moduleResolution: "bundler" },
    files: { "program.ts": PROGRAM },
  },
};

/** Fails unless a user's programs compile against the installed package, with each compiler and module resolution. */
export async function checkTypes(consumer, compilers) {
  for (const [name, { compilerOptions, files }] of Object.entries(PROJECTS)) {
    mkdirSync(join(consumer, name));
    for (const [file, text] of Object.entries(files)) writeFileSync(join(consumer, name, file), text);
    writeConfig(consumer, name, "tsconfig.json", { ...compilerOptions, skipLibCheck: false });
    writeConfig(consumer, name, "tsconfig.skip.json", { ...compilerOptions, skipLibCheck: true });
  }
  await install(
    compilers,
    COMPILERS.map(({ name, version }) => `${name}@npm:typescript@${version}`),
  );
  for (const compiler of COMPILERS) {
    for (const project of Object.keys(PROJECTS)) await compile(consumer, compilers, compiler, project);
  }
}

function writeConfig(consumer, project, file, options) {
  const compilerOptions = { strict: true, noEmit: true, target: "es2022", lib: ["es2022"], ...options };
  writeFileSync(join(consumer, project, file), JSON.stringify({ compilerOptions }));
}

async function compile(consumer, compilers, { name, areDependenciesClean }, project) {
  const tsc = (config) =>
    run(process.execPath, [join(compilers, "node_modules", name, "bin", "tsc"), "--pretty", "false", "-p", config], {
      cwd: join(consumer, project),
    });
  if (areDependenciesClean) {
    await tsc("tsconfig.json");
    return;
  }
  await tsc("tsconfig.skip.json");
  await tsc("tsconfig.json").catch((error) => {
    const dependency = /^\.\.\/node_modules\/(?!kojin-postgres\/)/;
    const messages = error.message.split("\n").slice(1);
    const ours = messages.filter((line) => /^\S.*: error TS/.test(line) && !dependency.test(line));
    if (ours.length > 0) throw new CheckError([`${name}, ${project}:`, ...ours].join("\n"), { cause: error });
  });
}
