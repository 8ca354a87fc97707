// The peers, each as {call, large, stop}: a job that gives back its payload, a large payload of the kind that suits
// it best, and what ends its workers where the end of this process does not.

import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const worker = (name) => fileURLToPath(new URL(`workers/${name}`, import.meta.url));
const bytes = (size) => new Uint8Array(size);
// Strings are what JSON carries best, bytes what the other serialization does.
const serialization = (isLarge) => (isLarge ? 'advanced' : 'json');

// Tinypool alone gains by having more than one job of this kind sent to a worker at a time.
const AHEAD = 64;

export const peers = {
  // Nothing but the way there and back: the least that a pool over this channel costs.
  async fork(workers, isLarge) {
    const options = { serialization: serialization(isLarge) };
    const children = Array.from({ length: workers }, () => fork(worker('fork.js'), options));
    await Promise.all(children.map((child) => once(child, 'message')));
    const waiting = new Map();
    const settle = ({ id, payload }) => {
      const resolve = waiting.get(id);
      waiting.delete(id);
      resolve(payload);
    };
    for (const child of children) child.on('message', settle);
    let last = 0;
    const call = (payload) =>
      new Promise((resolve) => {
        const id = ++last;
        waiting.set(id, resolve);
        children[id % workers].send({ id, payload });
      });
    return { call, large: bytes };
  },

  // Threads. Large payloads change hands without a copy, as it recommends.
  async piscina(workers, isLarge) {
    const { Piscina } = await import('piscina');
    const pool = new Piscina({ filename: worker('piscina.js'), minThreads: workers, maxThreads: workers });
    const name = isLarge ? 'moved' : 'echo';
    const call = (payload) => pool.run(isLarge ? Piscina.move(payload) : payload, { name });
    return { call, large: bytes };
  },

  async tinypool(workers, isLarge) {
    const { Tinypool } = await import('tinypool');
    const pool = new Tinypool({
      runtime: 'child_process',
      concurrentTasksPerWorker: AHEAD,
      filename: worker('tinypool.js'),
      minThreads: workers,
      maxThreads: workers,
      serialization: serialization(isLarge),
    });
    return { call: (payload) => pool.run(payload), large: bytes };
  },

  async workerpool(workers, isLarge) {
    const { default: workerpool } = await import('workerpool');
    const pool = workerpool.pool(worker('workerpool.js'), {
      workerType: 'process',
      minWorkers: workers,
      maxWorkers: workers,
      forkOpts: { serialization: serialization(isLarge) },
    });
    return { call: (payload) => pool.exec('echo', [payload]), large: bytes };
  },

  // It speaks JSON only; bytes would be numbers in decimal.
  async 'load-process-manager'(workers) {
    const { default: manager } = await import('load-process-manager');
    const supervisor = manager.supervisor({ worker: { file: worker('load-process-manager.cjs'), count: workers } });
    const online = new Promise((resolve) => supervisor.on('online', resolve));
    supervisor.start();
    await online;
    const call = (payload) => supervisor.enqueue(payload).then((response) => response.data);
    return { call, large: (size) => 'x'.repeat(size) };
  },
};
