import { latestVersion } from "../schema/migration-files";
import { isError } from "../errors";
import { type Check, type CheckContext, type DiagnosisParts, type Finding, unknown } from "./check";
import { readHealth } from "./health";
import { Inspector } from "./inspection";
import {
  checkListeners,
  checkListening,
  checkLock,
  checkPooler,
  checkQueue,
  checkRoundTrip,
} from "./notification-checks";
import {
  checkAccess,
  checkChannel,
  checkRights,
  checkSchema,
  checkServer,
  checkSettings,
  checkSubscriptions,
  checkTriggers,
} from "./schema-checks";

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

/** The checks in order: an earlier one can explain a later one. */
const checks: Readonly<Record<CheckName, Check>> = {
  server: checkServer,
  pooler: checkPooler,
  listening: checkListening,
  queue: checkQueue,
  lock: checkLock,
  listeners: checkListeners,
  settings: checkSettings,
  schema: checkSchema,
  triggers: checkTriggers,
  rights: checkRights,
  access: checkAccess,
  channel: checkChannel,
  subscriptions: checkSubscriptions,
  "round-trip": checkRoundTrip,
};

/** The checks that make no sense without the tables. */
const tableChecks: readonly CheckName[] = ["triggers", "rights", "access", "channel", "subscriptions", "round-trip"];

/** The outcome of one check of `diagnose()`. */
export interface Diagnosis extends Finding {
  /** A constant to switch on. */
  readonly check: CheckName;
}

export interface DiagnoseOptions {
  /** Stores a result, waits for it and deletes it. Default `true`: no other check covers the whole path. */
  readonly probe?: boolean;
}

const checkTimeoutMs = 5_000;

/** Runs all checks. One that fails is reported as `unknown`. */
export async function diagnose(
  parts: DiagnosisParts,
  { probe = true }: DiagnoseOptions = {},
): Promise<readonly Diagnosis[]> {
  await parts.ready();
  const context = await createContext(parts);
  const hasTables = context.schemaVersion === undefined || context.schemaVersion === latestVersion();
  const diagnoses: Diagnosis[] = [];
  // One after the other, so that a server in trouble does not get 14 queries at once.
  for (const check of Object.keys(checks) as CheckName[]) {
    if (tableChecks.includes(check) && !hasTables) continue;
    if (check === "round-trip" && !probe) continue;
    diagnoses.push({ check, ...(await run(checks[check], context)) });
  }
  return diagnoses;
}

async function run(check: Check, context: CheckContext): Promise<Finding> {
  try {
    return await check(context);
  } catch (error) {
    return unknown(isError(error) ? error.message : String(error));
  }
}

async function createContext(parts: DiagnosisParts): Promise<CheckContext> {
  const inspector = new Inspector(parts, checkTimeoutMs);
  return {
    parts,
    inspector,
    schema: inspector.schema,
    health: await readHealth(parts),
    schemaVersion: await inspector.schemaVersion(),
    notifier: parts.options.notifier?.name,
  };
}
