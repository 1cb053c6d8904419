/** Reads a command's options. Prints the usage and gives an exit code instead if there is nothing more to do. */
export function readOptions<T extends object>(
  parse: (args: readonly string[]) => T | "help",
  usage: string,
): T | number {
  try {
    const options = parse(process.argv.slice(2));
    if (options !== "help") return options;
    console.log(usage);
    return 0;
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : String(error)}\n\n${usage}`);
    return 2;
  }
}
