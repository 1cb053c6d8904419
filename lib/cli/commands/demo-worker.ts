// The worker process of the demo: takes tasks from its parent process and stores their results.

import { PostgresResultBackend } from "../../index";

/** A task of the demo: to square a number. The queue is the IPC channel between the two processes. */
export interface DemoTask {
  readonly taskId: string;
  /** A number below 0 makes the task fail. */
  readonly input: number;
  /** The group of the task, if it is a member of one. */
  readonly groupId?: string;
}

async function main(): Promise<void> {
  const backend = await PostgresResultBackend.connect(process.env["DATABASE_URL"] ?? "");
  const exit = (): void => void backend.close().then(() => process.exit());
  // Ctrl-C in a terminal reaches both processes. The parent decides when this one ends.
  process.on("SIGINT", () => undefined);
  process.once("disconnect", exit);
  process.on("message", (task: DemoTask) => void work(backend, task));
  process.send?.("ready");
  if (!process.connected) exit();
}

async function work(backend: PostgresResultBackend, { taskId, input, groupId }: DemoTask): Promise<void> {
  if (input < 0) await backend.fail(taskId, new RangeError(`expected 0 or more, got ${input}`));
  else if (groupId !== undefined) await backend.completeGroupMember(groupId, taskId, input ** 2);
  else await backend.store(taskId, { square: input ** 2, worker: process.pid });
}

void main();
