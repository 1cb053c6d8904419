import { createRequire } from "node:module";
import { join } from "node:path";
import type * as Transport from "@nats-io/transport-node";
import { MissingPackageError } from "../errors";

export type NatsClient = typeof Transport;

const packageName = "@nats-io/transport-node";

/**
 * The official client. As an optional peer it belongs to the user's project, and this package may be linked.
 *
 * @throws {@link MissingPackageError}
 */
export function loadClient(folders: readonly string[] = [__dirname, process.cwd()]): NatsClient {
  for (const folder of folders) {
    try {
      return createRequire(join(folder, "resolve.js"))(packageName) as NatsClient;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "MODULE_NOT_FOUND") throw error;
    }
  }
  throw new MissingPackageError(packageName, "kojin-postgres/nats");
}
