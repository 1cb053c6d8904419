import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { escapeIdentifier, escapeLiteral } from "pg";
import { channelOf } from "../notify/channel";

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

/** The version of the tables that this package works with. */
export const latestVersion = (): number => migrations().at(-1)?.version ?? 0;

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
  name text not null,
  applied_at timestamptz not null default now()
)`,
    // The version, 0 if none.
    read: `select coalesce(pg_catalog.max(version), 0)::pg_catalog.text as version from ${name}`,
  };
}

/**
 * The SQL of a migration with the name of the schema in its place. The quotes around functions get that name's hash, which the name itself does not contain: it may hold `$$`,
 * and would end them. And it is put there by a function, since `replaceAll` reads `$&` and the like in a text.
 */
export function sqlFor(schema: string, { sql }: Migration): string {
  const [name, tag] = [escapeIdentifier(schema), channelOf(schema)];
  return sql
    .replaceAll("@channel@", escapeLiteral(tag))
    .replaceAll("$$", () => `$${tag}$`)
    .replaceAll("$name$", () => `$${tag}_name$`)
    .replaceAll("@schema@.kojin", () => `${name}.kojin`);
}
