import { SchemaError } from "../errors";
import { type Health, type HealthParts, readHealth } from "./health";
import { channelOf } from "../notifications/payload";
import { latestVersion } from "../schema/migration-files";
import { type Check, type CheckContext, type Finding, unknown } from "./check";
import { checkListeners, checkListening, checkLock, checkPooler, checkQueue, checkRoundTrip } from "./listening-checks";
import { checkAccess } from "./access-check";
import { type ProbeParts, probeRoundTrip } from "./probe";
import { checkRights } from "./rights-check";
import {
  checkChannel,
  checkSchema,
  checkServer,
  checkSettings,
  checkSubscriptions,
  checkTriggers,
} from "./schema-checks";
import { inspectionStatements } from "./statements";
import { isError } from "../value/foreign";

/** What one check has found, of all that can make waits slow or deaf. */
export interface Diagnosis extends Finding {
  /** What was looked at: a constant to switch on. */
  readonly check: CheckName;
}

/** Name of a check, in kebab-case. */
export type CheckName =
  | "server"
  | "pooler"
  | "listening"
  | "queue"
  | "lock"
  | "listeners"
  | "settings"
  | "schema"
  | "triggers"
  | "rights"
  | "access"
  | "channel"
  | "subscriptions"
  | "round-trip";

export interface DiagnoseOptions {
  /**
   * Whether to store a result, wait for it and delete it. Default `true`: nothing else shows the whole way.
   */
  readonly probe?: boolean;
}

export interface DiagnosisParts extends HealthParts, ProbeParts {
  readonly options: HealthParts["options"];
  readonly database: HealthParts["database"];
  readonly statements: HealthParts["statements"];
  ready(): Promise<void>;
}

/** In the order in which one explains the other. */
const anywhere = {
  server: checkServer,
  pooler: checkPooler,
  listening: checkListening,
  queue: checkQueue,
  lock: checkLock,
  listeners: checkListeners,
  settings: checkSettings,
  schema: checkSchema,
} satisfies Partial<Record<CheckName, Check>>;

/** These need the tables. */
const whereMigrated = {
  triggers: checkTriggers,
  rights: checkRights,
  access: checkAccess,
  channel: checkChannel,
  subscriptions: checkSubscriptions,
  "round-trip": checkRoundTrip,
} satisfies Record<Exclude<CheckName, keyof typeof anywhere>, Check>;

const checkTimeoutMs = 5_000;

/** Looks at each thing that makes waits slow or deaf. A check that fails is an answer, too. */
export async function diagnose(
  parts: DiagnosisParts,
  { probe = true }: DiagnoseOptions = {},
): Promise<readonly Diagnosis[]> {
  await parts.ready();
  const context = await createContext(parts, await readHealth(parts));
  const isUsable = context.schemaVersion === undefined || context.schemaVersion === latestVersion();
  const checks: [string, Check][] = [...Object.entries(anywhere), ...(isUsable ? Object.entries(whereMigrated) : [])];
  const found: Diagnosis[] = [];
  // One after the other: a server in trouble is not asked twelve things at once.
  for (const [check, run] of checks) {
    if (check === "round-trip" && !probe) continue;
    found.push({ check: check as CheckName, ...(await run(context).catch(toUnknown)) });
  }
  return found;
}

async function createContext(parts: DiagnosisParts, health: Health): Promise<CheckContext> {
  const { database, options, schemaCheck } = parts;
  const { schema } = options;
  const schemaVersion = await schemaCheck.version(checkTimeoutMs).catch((error: unknown) => {
    if (error instanceof SchemaError) return 0;
    throw error;
  });
  return {
    database,
    schema,
    health,
    notifier: options.notifier?.name,
    notifierProblem: parts.notifications.report.problem,
    channel: channelOf(schema),
    texts: inspectionStatements(schema),
    timeoutMs: checkTimeoutMs,
    schemaVersion,
    ask: async (text, values = []) => database.query({ purpose: "look at the database", text, values }, checkTimeoutMs),
    probe: async () => probeRoundTrip(parts),
  };
}

function toUnknown(error: unknown): Finding {
  return unknown(isError(error) ? error.message : String(error));
}
