import type { RelayReport } from "../../relay/index";
import type { Session } from "../session";
import { printable } from "../text";

/** Tells on one line how a relay is now; in JSON as an object. */
export function showReport(session: Session, report: RelayReport): void {
  const at = new Date().toISOString();
  const { role, ok, listen, notifier } = report;
  const problems = report.problems.map((each) => session.withoutSecrets(each));
  if (session.isJson)
    session.printJson({ at, type: "relay", role, ok, listen: listen.status, notifier: notifier.status, problems });
  else session.print(`${at.slice(11, 23)}  ${role.padEnd(7)}  ${printable(inWords({ ...report, problems }))}`);
}

function inWords({ ok, role, problems, notifier }: RelayReport): string {
  if (!ok) return problems.join(" ");
  return role === "leader" ? `relays from Postgres to ${notifier.name}` : "another relays";
}
