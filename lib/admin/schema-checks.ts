import { escapeIdentifier } from "pg";
import { isIdle, onlyAnnounces, readTriggers } from "../schema/triggers";
import { latestVersion } from "../schema/migration-files";
import { type Check, type Finding, ok, problem, unknown, warning } from "./check";
import { readServer, type ServerAnswer } from "./inspection";

const oldestServer = 140_000;
/** The newest version that the specs run on is 18. */
const firstUntestedServer = 190_000;

const migrateRemedy = (schema: string): string =>
  `Call migrate(), or run: kojin-postgres migrate${schema === "public" ? "" : ` --schema ${JSON.stringify(schema)}`}`;

/** Whether the server is one that this package works with. */
export const checkServer: Check = async ({ database, texts }) => judgeServer(await readServer(database, texts));

/** What is to be said of a server, and of the session with it. */
export function judgeServer({ server, replicationRole }: ServerAnswer): Finding {
  const name = `PostgreSQL ${server.version}`;
  if (server.versionNumber < oldestServer)
    return problem(`${name} is older than 14.`, "Upgrade the server: PostgreSQL 14 to 18.");
  if (server.isStandby) {
    return problem(
      `${name} is a standby: it takes no writes, and refuses LISTEN.`,
      "Give the address of the primary, for the pool and for LISTEN.",
    );
  }
  if (replicationRole === "replica") {
    return problem(
      "This session has session_replication_role = replica, so its writes fire no triggers: what it writes by plain SQL is neither announced nor counted.",
      "Take the setting back: alter role … reset session_replication_role, or remove it from the address.",
    );
  }
  if (server.versionNumber >= firstUntestedServer)
    return warning(`${name} is newer than what this version was tested with.`, "Look for a newer kojin-postgres.");
  return ok(`${name}, a primary.`);
}

/** Whether the tables are there, in the version of this package. */
export const checkSchema: Check = async ({ schema, schemaVersion, ask, texts }) => {
  const latest = latestVersion();
  if (schemaVersion === undefined)
    return unknown(`This role may not read the version of schema "${schema}".`, "See sql/roles.sql.");
  if (schemaVersion === latest) return ok(`Schema "${schema}" has version ${latest}.`);
  if (schemaVersion > latest) {
    return problem(
      `Schema "${schema}" has version ${schemaVersion}, this kojin-postgres knows versions up to ${latest}.`,
      "Upgrade the package here.",
    );
  }
  if (schemaVersion > 0)
    return problem(`Schema "${schema}" has version ${schemaVersion} of ${latest}.`, migrateRemedy(schema));
  const others = (await ask<[string]>(texts.otherSchemas, [schema])).map(([name]) => JSON.stringify(name));
  if (others.length === 0) return problem(`Schema "${schema}" has not been migrated.`, migrateRemedy(schema));
  return problem(
    `Schema "${schema}" has not been migrated, but there are tables in ${others.join(", ")}.`,
    `Give the schema that the others use (option schema, or --schema): who listens to another hears nothing. If it is this one: ${migrateRemedy(schema)}`,
  );
};

/** Whether the triggers fire. */
export const checkTriggers: Check = async ({ database, schema, timeoutMs, notifier }) => {
  const triggers = (await readTriggers(database, schema, timeoutMs)).filter(
    ({ name }) => notifier === undefined || !onlyAnnounces(name),
  );
  const idle = triggers.filter(isIdle).map(({ name, state }) => `${name} (${state})`);
  if (idle.length === 0) return ok(`All ${triggers.length} triggers are enabled.`);
  return problem(
    `Writes are not announced, or not counted, for want of triggers: ${idle.join(", ")}.`,
    `${migrateRemedy(schema)} (it makes or enables them, and counts groups anew).`,
  );
};

/** Whether what the triggers call, and so the channel, is that of this schema. */
export const checkChannel: Check = async ({ schema, channel, ask, texts }) => {
  const [row] = await ask<[string]>(texts.announcingFunction, [schema]);
  if (row?.[0].includes(`${escapeIdentifier(schema)}.kojin_announce(`) === true)
    return ok(`Results of schema "${schema}" are announced on ${channel}.`);
  return problem(
    `The functions of schema "${schema}" are those of another schema, or were changed: the schema was renamed, or copied.`,
    "Functions name their schema, so it cannot be renamed: migrate a new one, and copy the rows of the four tables.",
  );
};

/** Whether writers have settings by which what they write is not announced. */
export const checkSettings: Check = async ({ ask, texts }) => {
  const rows = await ask<[string | null, string | null, string]>(texts.silencingSettings);
  if (rows.length === 0) return ok("No role and no database is set to write without announcing.");
  const words = rows.map(
    ([role, name, setting]) => `${setting} (${role ?? "every role"} in ${name ?? "every database"})`,
  );
  return problem(
    `What some write is not announced: ${words.join(", ")}.`,
    "alter role … reset …, or alter database … reset …; it counts for sessions that begin after it.",
  );
};

/** Whether rows come by logical replication, which fires no triggers. */
export const checkSubscriptions: Check = async ({ schema, ask, texts }) => {
  const tables = (await ask<[string]>(texts.subscribedTables, [schema])).map(([name]) => name);
  if (tables.length === 0) return ok("No table is written by logical replication.");
  return warning(
    `Logical replication writes ${tables.join(", ")}, and fires no triggers: such results are found by reading, every sweepIntervalMs.`,
    "Wait where the results are stored, or set a short sweepIntervalMs.",
  );
};
