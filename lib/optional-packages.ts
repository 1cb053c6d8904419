import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";

/**
 * Returns the folders in which optional peer packages are looked for. They belong to the user's project, which is not
 * above this module if this package is linked or bundled.
 */
export function packageFolders(): string[] {
  // A bundle that is an ES module has no __dirname.
  const own = typeof __dirname === "undefined" ? [] : [__dirname];
  const [, program] = process.argv;
  return [...own, process.cwd(), ...(program === undefined ? [] : [dirname(resolve(program))])];
}

/** Loads an optional peer package, or returns `undefined` if it is not installed. */
export function loadOptional(packageName: string, folders: readonly string[] = packageFolders()): unknown {
  for (const folder of folders) {
    try {
      return createRequire(join(folder, "resolve.js"))(packageName);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "MODULE_NOT_FOUND") throw error;
    }
  }
  return undefined;
}
