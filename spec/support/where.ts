import { natsServerMissing } from "./nats-server";
import { pgBouncerMissing } from "./pgbouncer";
import { postgresMajor } from "./postgres-version";

/** A spec that only some machines can run. Elsewhere it is skipped with a reason. */
export function itWhere(isPossible: boolean, reason: string): typeof it.skip {
  if (isPossible) return it;
  console.info(`Skipped here: ${reason}`);
  return it.skip;
}

const isRoot = process.getuid?.() === 0;

export const itAsOrdinaryUser = (): typeof it.skip =>
  itWhere(process.platform !== "win32" && !isRoot, "root may write to a folder that is read-only.");

export const itAsRoot = (): typeof it.skip => itWhere(isRoot, "only root has to run the server as somebody else.");

/** The same for a whole file's specs. */
export function describeWhere(isPossible: boolean, reason: string): typeof describe.skip {
  if (isPossible) return describe;
  console.info(`Skipped here: ${reason}`);
  return describe.skip;
}

export const describeWithPgBouncer = (): typeof describe.skip =>
  describeWhere(pgBouncerMissing() === undefined, pgBouncerMissing() ?? "");

export const itSincePostgres = (major: number, reason: string): typeof it.skip =>
  itWhere(postgresMajor() >= major, `${reason} came with Postgres ${major}.`);

export const describeSincePostgres = (major: number, reason: string): typeof describe.skip =>
  describeWhere(postgresMajor() >= major, `${reason} came with Postgres ${major}.`);

export const describeWithNats = (): typeof describe.skip =>
  describeWhere(natsServerMissing() === undefined, natsServerMissing() ?? "");
