/** Creates the tables when the server starts. Processes that start together may all do so. */
export async function register(): Promise<void> {
  if (process.env["NEXT_RUNTIME"] !== "nodejs") return;
  const { connectBackend } = await import("./backend");
  await (await connectBackend()).migrate();
}
