import { rm } from "node:fs/promises";
import "./global-setup";

/** Stops what the setup started. */
export default async function globalTeardown(): Promise<void> {
  await globalThis.pgBouncerOfSpecs?.stop();
  await globalThis.natsServerOfSpecs?.stop();
  await globalThis.embeddedPostgresOfSpecs?.stop();
  await rm(process.env["SPEC_EMPTY_CLUSTER"] ?? "", { recursive: true, force: true });
}
