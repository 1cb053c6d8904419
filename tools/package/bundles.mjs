import { build } from "esbuild";
import { join } from "node:path";

import { CheckError, install, newProject, run, withServer } from "./command.mjs";

const NCC = "@vercel/ncc@0.45.0";
// node-postgres is CommonJS and requires modules of Node, for which esbuild has no `require` in ES modules.
const REQUIRE = 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);';

/** Fails unless a bundled application starts, migrates, stores and waits, in a folder without packages. */
export async function checkBundles(consumer, folder) {
  const program = join(consumer, "bundled.mjs");
  const files = [
    await bundleWithEsbuild(program, join(folder, "app.cjs"), { format: "cjs" }),
    await bundleWithEsbuild(program, join(folder, "app.mjs"), { format: "esm", banner: { js: REQUIRE } }),
    await bundleWithEsbuild(program, join(folder, "app.min.cjs"), { format: "cjs", minify: true }),
  ];
  const ncc = await bundleWithNcc(program, folder);
  await withServer(async (url) => {
    for (const file of [...files, ...ncc.files]) await runBundle(file, folder, url);
  });
  return ncc.note;
}

async function bundleWithEsbuild(program, outfile, options) {
  const common = { bundle: true, platform: "node", logLevel: "silent", absWorkingDir: join(program, "..") };
  const { warnings } = await build({ ...common, ...options, entryPoints: [program], outfile });
  if (warnings.length > 0) throw new CheckError(`esbuild: ${warnings.map(({ text }) => text).join("\n")}`);
  return outfile;
}

async function bundleWithNcc(program, folder) {
  const tool = newProject(join(folder, "tool"));
  try {
    await install(tool, [NCC]);
  } catch (error) {
    return { files: [], note: `without ncc, which cannot be installed: ${error.message.split("\n").at(-1)}` };
  }
  await run(
    process.execPath,
    [
      join(tool, "node_modules", "@vercel", "ncc", "dist", "ncc", "cli.js"),
      "build",
      program,
      "--out",
      join(folder, "ncc"),
    ],
    { cwd: join(program, "..") },
  );
  return { files: [join(folder, "ncc", "index.mjs")] };
}

async function runBundle(file, cwd, url) {
  const output = await run(process.execPath, [file], {
    cwd,
    env: { ...process.env, NODE_PATH: "", DATABASE_URL: url },
    timeoutMs: 30_000,
  });
  if (output !== "42 listening\n") throw new CheckError(`${file} printed:\n${output}`);
}
