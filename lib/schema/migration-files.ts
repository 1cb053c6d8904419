import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { escapeIdentifier } from "pg";

export interface Migration {
  readonly version: number;
  /** The name of its file, without the ending. */
  readonly name: string;
  readonly sql: string;
}

/** The folder `sql/` of the package, which stands beside `dist/` as it stands beside `lib/`. */
const folder = join(__dirname, "..", "..", "sql");

let loaded: readonly Migration[] | undefined;

/** All migrations, in order. */
export function migrations(): readonly Migration[] {
  loaded ??= readdirSync(folder)
    .filter((file) => /^\d{4}_\w+\.sql$/.test(file))
    .sort()
    .map((file) => ({
      version: Number(file.slice(0, 4)),
      name: file.slice(0, -".sql".length),
      sql: readFileSync(join(folder, file), "utf8"),
    }));
  return loaded;
}

let recount: string | undefined;

/** Counts groups anew, in steps like those of a migration. */
export function recountSql(): string {
  recount ??= readFileSync(join(folder, "recount.sql"), "utf8");
  return recount;
}

/** The version of the tables that this package works with. */
export const latestVersion = (): number => migrations().at(-1)?.version ?? 0;

/** Rows of the version table with these versions do not name migrations: they say which step of one has been run. */
export const progressVersions = { migration: 0, recount: -1 } as const;

/** The tables' record of what was applied. Names are qualified, so no setting of the session is needed for it. */
export function versionTable(schema: string): {
  readonly name: string;
  readonly create: string;
  readonly read: string;
} {
  const name = `${escapeIdentifier(schema)}.kojin_migrations`;
  return {
    name,
    create: `create table if not exists ${name} (
  version int primary key,
  name pg_catalog.text not null,
  applied_at timestamp with time zone not null default pg_catalog.now()
)`,
    // The version, 0 if none; and the progress of a migration, and of a recount, that has not ended.
    read: `
      select greatest(coalesce(pg_catalog.max(version), 0), 0)::pg_catalog.text as version,
        pg_catalog.max(name) filter (where version operator(pg_catalog.=) ${progressVersions.migration}) as migrating,
        pg_catalog.max(name) filter (where version operator(pg_catalog.=) ${progressVersions.recount}) as recounting
      from ${name}`,
  };
}
