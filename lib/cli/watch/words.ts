import type { GroupProgress } from "../../index";
import { inDigits } from "../text";

/** How far a group is, in words. */
export function groupInWords({ total, completed, failed, done }: GroupProgress): string {
  const size = total === null ? "an unknown number" : inDigits(total);
  const failures = failed === 0 ? "" : `, ${inDigits(failed)} failed`;
  return `${done ? "done, " : ""}${inDigits(completed)} of ${size} completed${failures}`;
}
