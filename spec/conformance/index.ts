export { describeResultBackend } from "./describe-result-backend";
export type { SpecRunner } from "./describe-result-backend";
export type { ConformingBackend } from "./suite";
