import type { EmbeddedPostgresOptions } from "../../lib/embedded/index";

/**
 * The Postgres that the specs run on: the newest, unless SPEC_POSTGRES_FROM names a folder with another one (see
 * tools/run-specs.mjs).
 */
export function installedPostgres(): EmbeddedPostgresOptions {
  const installedIn = process.env["SPEC_POSTGRES_FROM"];
  return installedIn === undefined ? {} : { installedIn };
}

/** The major version of that Postgres. A server of DATABASE_URL is assumed to be the newest. */
export const postgresMajor = (): number => Number(process.env["SPEC_POSTGRES_MAJOR"] ?? 18);
