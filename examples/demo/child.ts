/** The database that the parent has passed to this process in its environment. */
export function databaseOfParent(): { url: string; schema: string } {
  const { DATABASE_URL: url, DEMO_SCHEMA: schema } = process.env;
  if (url === undefined || schema === undefined) throw new Error("Start the demo by its main.ts: npm run demo");
  return { url, schema };
}

/**
 * Ties this process to its parent: calls `leave` when the parent ends it or has ended itself. `leave` may be called
 * twice.
 *
 * Ctrl-C in a terminal reaches every process of the demo. This one ignores it: the parent alone ends all of them in
 * order.
 */
export function followParent(leave: () => void): void {
  process.on("SIGINT", () => undefined);
  process.once("SIGTERM", leave);
  process.once("disconnect", leave);
  // The parent may have ended while this process was starting.
  if (!process.connected) leave();
}
