// node verify_key.mjs BUNDLE PUBLIC_KEY.pem: is this bundle signed with that key, whatever it says of itself?
import { createPublicKey } from "node:crypto";
import { readFileSync } from "node:fs";
import { judge } from "./judge.mjs";

const [bundle, pem] = process.argv.slice(2);
const publicKey = createPublicKey(readFileSync(pem));

judge(bundle, {
  trust: {
    certificateAuthorities: [],
    timestampAuthorities: [],
    tlogs: [],
    ctlogs: [],
    publicKey: () => ({ publicKey, validFor: () => true }),
  },
  thresholds: { tlogThreshold: 0, ctlogThreshold: 0, timestampThreshold: 0 },
});
