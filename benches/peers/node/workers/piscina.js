import { move } from 'piscina';

export const echo = (payload) => payload;
export const moved = (payload) => move(payload);
