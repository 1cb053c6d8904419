import type { EmbeddedPostgresOptions } from "../../lib/embedded/index";

/** Which Postgres the specs run on: the newest, unless SPEC_POSTGRES_FROM names a folder with another one (see tools/run-specs.mjs). */
export function installedPostgres(): EmbeddedPostgresOptions {
  const installedIn = process.env["SPEC_POSTGRES_FROM"];
  return installedIn === undefined ? {} : { installedIn };
}

/** The major version of that Postgres; of a server that DATABASE_URL names, the newest is assumed. */
export const postgresMajor = (): number => Number(process.env["SPEC_POSTGRES_MAJOR"] ?? 18);
