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

/** What was applied to a schema. */
export interface SchemaState {
  /** The version of the tables; 0 where nothing was migrated yet. */
  readonly version: number;
  /** Whether writers count by themselves there. */
  readonly withoutTriggers: boolean;
}

/** The folder `sql/` of the package, which stands beside `dist/` as it stands beside `lib/`. */
const folder = join(__dirname, "..", "..", "sql");

const forTriggersOnly = /^\d{4}_triggers/;
const withoutTriggersOnly = /^\d{4}_without_triggers/;

let loaded: readonly Migration[] | undefined;

function allMigrations(): readonly Migration[] {
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

/** All migrations, in order. Some versions have a file for schemas with triggers, and another for those without. */
export function migrations(triggers = true): readonly Migration[] {
  return allMigrations().filter(({ name }) => !(triggers ? withoutTriggersOnly : forTriggersOnly).test(name));
}

/** The version of the tables that this package works with. */
export const latestVersion = (): number => migrations().at(-1)?.version ?? 0;

/** Those that a schema has not had: what is newer, and where it is to get triggers, what it was spared. */
export function pendingMigrations({ version, withoutTriggers }: SchemaState, triggers: boolean): readonly Migration[] {
  return migrations(triggers).filter(
    (each) => each.version > version || (triggers && withoutTriggers && forTriggersOnly.test(each.name)),
  );
}

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
    // The version, 0 if none; and whether the schema was migrated without triggers, as 1 or 0.
    read: `
      select coalesce(max(version), 0)::text as version,
        coalesce(max(case when name like '%_without_triggers' then 1 else 0 end), 0)::text as without_triggers
      from ${name}`,
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
