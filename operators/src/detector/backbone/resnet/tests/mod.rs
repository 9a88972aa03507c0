mod convolution;
mod formula;
mod loading;
mod parity;
mod threads;
