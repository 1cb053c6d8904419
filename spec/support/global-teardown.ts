import "./global-setup";

/** Stops the server that the setup started, if it did. */
export default async function globalTeardown(): Promise<void> {
  await globalThis.embeddedPostgresOfSpecs?.stop();
}
