mod formula;
mod loading;
mod parity;
mod precision;
mod threads;
