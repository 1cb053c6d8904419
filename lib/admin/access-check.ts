import { accessProblems } from "../database/access";
import { type Check, ok, problem } from "./check";

/** Finds what keeps this role from storing or seeing results although it has the rights to. */
export const checkAccess: Check = async ({ database, schema, timeoutMs }) => {
  const [found] = await accessProblems(database, schema, timeoutMs);
  if (found === undefined) return ok("This session can write, and row security hides nothing from this role.");
  const [finding = "", remedy = ""] = found.split(/: (?=give|reset|add)|\. (?=Give)/);
  return problem(`${finding}.`, remedy);
};
