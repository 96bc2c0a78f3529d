/* The program of the matrix; all else is in the library that it needs, since constructors are places, too. */
int matrix_main(int argc, char **argv);

int main(int argc, char **argv) { return matrix_main(argc, argv); }
