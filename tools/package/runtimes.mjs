import { chmodSync, cpSync } from "node:fs";
import { join } from "node:path";

import { install, newProject, root, run } from "./command.mjs";

const onDeno = ["run", "--quiet", "--allow-all", "--node-modules-dir=manual"];

/** The runtimes by the npm packages that contain their programs, in exact versions. */
function runtimesFor(arch) {
  const bunArch = arch === "arm64" ? "aarch64" : arch;
  return [
    { name: "Node 20.19", spec: `node-linux-${arch}@20.19.0`, program: "bin/node" },
    { name: "Node 22", spec: `node-linux-${arch}@22.23.5`, program: "bin/node" },
    { name: "Node 24", spec: `node-linux-${arch}@24.22.3`, program: "bin/node" },
    { name: "Node 26", spec: `node-linux-${arch}@26.12.1`, program: "bin/node" },
    { name: "Bun", spec: `@oven/bun-linux-${bunArch}@1.4.5`, program: "bin/bun" },
    { name: "Deno", spec: `@deno/linux-${arch}-glibc@2.9.6`, program: "deno", args: onDeno },
  ];
}

/** Runs the published suite under each runtime that can be installed. Returns a note on each of them. */
export async function checkRuntimes(consumer, folder) {
  const { platform, arch } = process;
  if (platform !== "linux" || !["x64", "arm64"].includes(arch)) return `skipped on ${platform}-${arch}`;
  cpSync(join(import.meta.dirname, "consumer", "conformance.mjs"), join(consumer, "conformance.mjs"));
  const waiting = runtimesFor(arch);
  const notes = [];
  const work = async () => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      notes.push(await checkRuntime(consumer, newProject(join(folder, next.name)), next));
    }
  };
  // Two at a time: the specs compute for half of their time.
  await Promise.all([work(), work()]);
  return notes.join(", ");
}

async function checkRuntime(consumer, folder, { name, spec, program, args = [] }) {
  try {
    await install(folder, [`runtime@npm:${spec}`]);
  } catch (error) {
    return `${name} skipped, since ${spec} cannot be installed: ${error.message.split("\n").at(-1)}`;
  }
  const path = join(folder, "node_modules", "runtime", program);
  chmodSync(path, 0o755);
  const output = await run(path, [...args, "conformance.mjs", root], {
    cwd: consumer,
    env: { ...process.env, NODE_PATH: "", NODE_OPTIONS: "" },
  });
  return `${name}: ${output.trim()}`;
}
