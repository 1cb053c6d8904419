import type { AttachedQueue, QueueName, QueueTable } from "../../index";
import { type CliCommand, parseFiniteDuration, parseSchema, parseTtl } from "../command";
import { asUsage, exitCodes, UsageError } from "../exit-codes";
import { RareNotes, type Session } from "../session";
import { inDigits, printable } from "../text";

interface TableOptions {
  readonly table?: string;
  readonly id?: string;
  readonly succeeded?: string;
  readonly failed?: string;
  readonly result?: string;
  readonly error?: string;
}

interface DetachOptions extends Pick<TableOptions, "table"> {
  readonly into: string;
  readonly lockWait?: number;
}

interface AttachOptions extends TableOptions, DetachOptions {
  readonly prefix?: string;
  readonly ttl?: number;
  readonly backfill: boolean;
}

const queueArgument = "pg-boss, dbos, or table for any other queue";
const schemaNote = `
Here --schema is the schema of the queue's table (default: pgboss, dbos or public); --into is that of the results.`;

export const attach = (program: CliCommand): void => {
  program
    .command("attach")
    .summary("copy the outcomes of a queue's jobs to the results")
    .description(
      "Creates a trigger on the queue's own table. It copies the outcome of a job in the transaction that finishes it, so that its id can be awaited and no worker changes. Then copies what has finished already. Run it again to change settings, or to copy what is missing.",
    )
    .argument("<queue>", queueArgument)
    .option("--into <schema>", "schema of the results", parseSchema, "public")
    .option("--prefix <text>", "text before the id of a job in its task id (default: none)")
    .option("--ttl <duration>", "how long to keep an outcome: 2h, 7d, never (default: 1d)", parseTtl)
    .option("--no-backfill", "copy nothing that has finished already")
    .option("--lock-wait <duration>", "how long to wait for the lock on the table (default: 30s)", parseFiniteDuration)
    .option("--table <name>", "for table: the table of jobs")
    .option("--id <sql>", "for table: an expression for the id of a job")
    .option("--succeeded <sql>", "for table: a condition, true once a job has succeeded")
    .option("--failed <sql>", "for table: a condition, true once a job has failed and is not tried again")
    .option("--result <sql>", "for table: an expression for the result (default: null)")
    .option("--error <sql>", "for table: an expression for the error, as JSON or text (default: none)")
    .addHelpText("after", schemaNote)
    .examples(
      ["attach pg-boss", "jobs of pg-boss, in its schema pgboss"],
      ["attach dbos --prefix workflow: --ttl 7d", "workflows of DBOS Transact"],
      [`attach table --table jobs --id id --succeeded "state = 'done'" --result output`, "any table"],
    )
    .handle<AttachOptions>(async (session, [name = ""], options) => {
      const place = placeOf(session, options);
      const { prefix, ttl: ttlMs, backfill } = options;
      const queue = queueOf(name, options);
      const backend = await session.connect();
      const notes = new RareNotes(session);
      const report = await asUsage(async () =>
        backend.attachQueue(queue, {
          ...place,
          backfill,
          ...(prefix === undefined ? {} : { prefix }),
          ...(ttlMs === undefined ? {} : { ttlMs }),
          onProgress: ({ copied }) => notes.show("copy", `${inDigits(copied)} outcomes copied …`),
        }),
      );
      const { attached, copied, skipped } = report;
      session.printJson(report);
      const counts = `${inDigits(copied)} earlier outcomes copied, ${inDigits(skipped)} skipped`;
      session.print(printable(`Attached ${attached.map(nameOf).join(" and ")}: ${counts}.`));
      const owner = attached.find(({ ownerWithoutRights }) => ownerWithoutRights !== undefined)?.ownerWithoutRights;
      if (owner !== undefined) session.note(lacksRights(owner));
      return exitCodes.ok;
    });
};

export const detach = (program: CliCommand): void => {
  program
    .command("detach")
    .summary("stop copying the outcomes of a queue's jobs")
    .description("Removes the trigger from the queue's table, and its functions. Outcomes that were copied stay.")
    .argument("<queue>", queueArgument)
    .option("--into <schema>", "schema of the results", parseSchema, "public")
    .option("--lock-wait <duration>", "how long to wait for the lock on the table (default: 30s)", parseFiniteDuration)
    .option("--table <name>", "for table: the table of jobs")
    .addHelpText("after", schemaNote)
    .examples(
      ["detach pg-boss", "jobs of pg-boss, in its schema pgboss"],
      ["detach table --table jobs --schema app", "any table"],
    )
    .handle<DetachOptions>(async (session, [name = ""], options) => {
      const place = placeOf(session, options);
      const { table } = options;
      const queue = name === "table" ? { table: required(table, "table") } : presetOf(name, options);
      const backend = await session.connect();
      const detached = await asUsage(async () => backend.detachQueue(queue, place));
      session.printJson({ detached });
      session.print(detached ? "Detached." : "Nothing to do: it was not attached.");
      return exitCodes.ok;
    });
};

/** Rows of `status`. */
export function attachedRows(attached: readonly AttachedQueue[]): string[][] {
  return attached.map((queue, index) => {
    const { prefix, state, ownerWithoutRights: owner } = queue;
    const facts = [
      nameOf(queue),
      ...(prefix === "" ? [] : [`prefix ${JSON.stringify(prefix)}`]),
      ...(state === "enabled" || state === "always" ? [] : [`the trigger is ${state}`]),
      ...(owner === undefined ? [] : [lacksRights(owner)]),
    ];
    return [index === 0 ? "Attached" : "", facts.join(", ")];
  });
}

const nameOf = ({ queue, schema, table }: AttachedQueue): string =>
  queue === "table" ? `${schema}.${table}` : `${queue} (${schema}.${table})`;

const lacksRights = (role: string): string =>
  `the role ${role} owns the table but may not write results: run sql/roles.sql, then grant kojin_storer to ${role}`;

/** Uses `--into` for the results, and returns where the queue is. */
function placeOf(session: Session, { into, lockWait }: DetachOptions): { schema?: string; lockWaitMs?: number } {
  const { schema } = session.options;
  session.useSchema(into);
  return {
    ...(schema === undefined ? {} : { schema }),
    ...(lockWait === undefined ? {} : { lockWaitMs: lockWait }),
  };
}

function queueOf(name: string, options: TableOptions): QueueName | QueueTable {
  if (name !== "table") return presetOf(name, options);
  const { table, id, succeeded, failed, result, error } = options;
  return {
    table: required(table, "table"),
    id: required(id, "id"),
    succeeded: required(succeeded, "succeeded"),
    ...(failed === undefined ? {} : { failed }),
    ...(result === undefined ? {} : { result }),
    ...(error === undefined ? {} : { error }),
  };
}

/** The library checks the name. */
function presetOf(name: string, options: TableOptions): QueueName {
  const given = (["table", "id", "succeeded", "failed", "result", "error"] as const).find(
    (option) => options[option] !== undefined,
  );
  if (given !== undefined) throw new UsageError(`--${given} describes a table: use it with "table", not "${name}".`);
  return name as QueueName;
}

function required(value: string | undefined, option: string): string {
  if (value === undefined) throw new UsageError(`"table" needs --${option}.`);
  return value;
}
