import type { Technique, TechniqueName } from "../technique";
import { bare } from "./bare";
import { bullmq } from "./bullmq";
import { ours } from "./ours";
import { polling } from "./polling";
import { redis } from "./redis";
import { rowPerCommit } from "./row-per-commit";

export const techniques: Readonly<Record<TechniqueName, Technique>> = {
  ours,
  bare,
  polling,
  "row per commit": rowPerCommit,
  redis,
  bullmq,
};
