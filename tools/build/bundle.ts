import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import * as esbuild from "esbuild";

const target = "node20.19";

/**
 * Writes the modules of the package, with what they share in chunks. pg-listen and its dependencies are compiled in:
 * pg-format requires a file by a computed path, which no bundler of an application can resolve.
 *
 * @param entryPoints - Source files by the names of their modules.
 */
export async function bundle(
  root: string,
  output: string,
  entryPoints: Readonly<Record<string, string>>,
): Promise<void> {
  const { outputFiles, metafile } = await esbuild.build({
    absWorkingDir: root,
    entryPoints: { ...entryPoints },
    outdir: output,
    tsconfig: join(root, "tsconfig.build.json"),
    platform: "node",
    target,
    bundle: true,
    external: externalPackages(root),
    // Only ES modules can be split. They are converted below.
    format: "esm",
    splitting: true,
    chunkNames: "chunks/[hash]",
    write: false,
    metafile: true,
    plugins: [constants, pgFormat, requiredByPgListen],
  });
  for (const { path, text } of outputFiles) {
    if (text.includes("Dynamic require of")) throw new Error(`${path} hides a require from other bundlers.`);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, await toCommonJs(text));
  }
  writeFileSync(join(output, "licenses.txt"), licenses(root, Object.keys(metafile.inputs)));
}

async function toCommonJs(text: string): Promise<string> {
  // Names stay in stack traces. Lines are bounded, so that positions in these say something.
  const options = { minify: true, keepNames: true, lineLimit: 200 };
  return (await esbuild.transform(text, { ...options, platform: "node", format: "cjs", target })).code;
}

/** Our own name, for the conformance suite, and everything that is installed along with this package. */
function externalPackages(root: string): string[] {
  const { name, dependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as {
    name: string;
    dependencies: Readonly<Record<string, string>>;
  };
  return [name, ...Object.keys(dependencies)];
}

/** Runs modules that read files of the repository, and puts their exports in place of them. */
const constants: esbuild.Plugin = {
  name: "constants",
  setup(build) {
    build.onLoad({ filter: /\/lib\/(package|dashboard\/page)-files\.ts$/ }, async ({ path }) => {
      const exported = Object.entries((await import(path)) as Readonly<Record<string, unknown>>);
      const lines = exported.map(([name, value]) => `export const ${name} = ${JSON.stringify(value)};\n`);
      return { contents: lines.join("") };
    });
  },
};

const pgFormat: esbuild.Plugin = {
  name: "pg-format",
  setup(build) {
    build.onLoad({ filter: /\/pg-format\/lib\/index\.js$/ }, ({ path }) => {
      const text = readFileSync(path, "utf8");
      const contents = text.replace("__dirname + '/reserved.js'", "'./reserved.js'");
      if (contents === text) throw new Error("pg-format no longer requires a file by a computed path.");
      return { contents };
    });
  },
};

/**
 * What pg-listen requires, as imports: esbuild hides a `require` in an ES module from the bundlers of applications.
 * pg-listen logs by Node's `debuglog`, since the package debug looks for an optional package.
 */
const required: Readonly<Record<string, string>> = {
  debug: 'export { debuglog as default } from "node:util";',
  events: 'export { default } from "node:events";',
  pg: 'export { Client } from "pg";',
};

const requiredByPgListen: esbuild.Plugin = {
  name: "required-by-pg-listen",
  setup(build) {
    build.onResolve({ filter: /^(debug|events|pg)$/ }, ({ path, kind }) =>
      kind === "require-call" ? { path, namespace: "required" } : undefined,
    );
    build.onLoad({ filter: /^/, namespace: "required" }, ({ path }) => ({ contents: required[path] ?? "" }));
  },
};

/** The licences of the packages that are compiled in. */
function licenses(root: string, inputs: readonly string[]): string {
  const folders = inputs.flatMap((path) => /^node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0] ?? []);
  return [...new Set(folders)]
    .map((folder) => `${basename(folder)}\n\n${readFileSync(join(root, folder, "LICENSE"), "utf8").trim()}\n`)
    .join("\n---\n\n");
}
