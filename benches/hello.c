/* The smallest CGI script: what a start costs, and nothing else. */
#include <unistd.h>

int main(void) {
    static const char answer[] = "Content-Type: text/plain\n\nhello from a script\n";
    return write(1, answer, sizeof answer - 1) != sizeof answer - 1;
}
