import type { Database } from "../database/database";
import type { ServerClock } from "../database/server-clock";
import type { Deadlines } from "./deadlines";
import type { NotificationSelection } from "../notifications/notifier";
import type { ResolvedOptions } from "../options";
import type { SchemaCheck } from "../schema/schema-check";
import type { WakeCause } from "./router";
import type { Sweep } from "./sweep";
import type { Troubles } from "./troubles";

/** What everything that can be waited for shares in a backend. */
export interface Interest {
  readonly options: ResolvedOptions;
  readonly database: Database;
  /** By it a result that comes with its notification is judged. */
  readonly clock: ServerClock;
  readonly schemaCheck: SchemaCheck;
  readonly deadlines: Deadlines;
  readonly sweep: Sweep;
  readonly troubles: Troubles;
  /** Is told what is waited for, if the notifier needs subscriptions. */
  readonly selection: NotificationSelection | undefined;
  readonly closed: AbortSignal;
  readonly countWake: (cause: WakeCause) => void;
  readonly countBatch?: ((size: number) => void) | undefined;
  /** Whether results are read with what telemetry shows of them. */
  readonly isObserved: boolean;
}
