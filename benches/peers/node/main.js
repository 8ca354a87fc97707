// The same work on process pools of Node: `node main.js PEER WORK WORKERS AMOUNT IN_FLIGHT` prints one number. The
// amount is milliseconds, or jobs where a queue is filled. benches/peers/run starts it.

import { peers } from './peers.js';

const PAYLOAD = 64;
const MIB = 1 << 20;

const [peer, work, workers, amount, inFlight] = process.argv.slice(2);

const works = {
  async sequential(pool) {
    await trips(pool, text(), amount / 2);
    return median(await trips(pool, text(), amount)) * 1e3;
  },

  async rate(pool) {
    await jobs(pool, amount / 2);
    return await jobs(pool, amount);
  },

  async echo(pool) {
    await trips(pool, pool.large(MIB), amount / 2);
    const taken = await trips(pool, pool.large(MIB), amount);
    const milliseconds = taken.reduce((sum, one) => sum + one);
    return (MIB * taken.length) / 1e6 / milliseconds;
  },

  // All in one turn of the event loop, so that nothing is worked off meanwhile.
  async bytes(pool) {
    await pool.call(text());
    const waiting = [];
    const before = resident();
    for (let job = 0; job < amount; job++) waiting.push(pool.call(text()));
    return (resident() - before) / amount;
  },
};

// The milliseconds of each. What came back is sent again.
async function trips(pool, payload, duration) {
  const taken = [];
  const size = payload.length;
  const begun = performance.now();
  for (let last = begun; last - begun < duration || !taken.length; ) {
    payload = await pool.call(payload);
    const now = performance.now();
    taken.push(now - last);
    last = now;
    if (payload.length !== size) throw new Error(`${payload.length} came back of ${size}`);
  }
  return taken;
}

async function jobs(pool, duration) {
  const begun = performance.now();
  let count = 0;
  const lane = async () => {
    while (performance.now() - begun < duration) {
      await pool.call(text());
      count++;
    }
  };
  await Promise.all(Array.from({ length: Number(inFlight) }, lane));
  return (count * 1e3) / (performance.now() - begun);
}

// A string of its own each time, as each job has its own payload.
const letters = Buffer.alloc(PAYLOAD, 'x');
const text = () => letters.latin1Slice(0, PAYLOAD);

function median(values) {
  values.sort((one, other) => one - other);
  return values[values.length >> 1];
}

function resident() {
  global.gc();
  return process.memoryUsage.rss();
}

const pool = await peers[peer](Number(workers), work === 'echo');
console.log(await works[work](pool));
await pool.stop?.(work === 'bytes');
process.exit();
