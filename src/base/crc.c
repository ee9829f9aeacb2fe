/* CRCs of S3's checksums. CRC32 is zlib's; the others are reflected too, eight bytes at a time: table t says what a
 * byte does that t more bytes follow. */
#include <pthread.h>
#include <zlib.h>

#include "base/crypto.h"

#define CRC64_POLYNOMIAL 0x9A6C9329AC4BC9B5u
enum { TABLES = 8 };
static uint64_t crc32c_table[TABLES][256], crc64_table[TABLES][256];
static pthread_once_t tables_once = PTHREAD_ONCE_INIT;

static void fill(uint64_t table[TABLES][256], uint64_t polynomial) {
    for (uint64_t i = 0; i < 256; i++) {
        uint64_t c = i;
        for (int bit = 0; bit < 8; bit++)
            c = c & 1 ? c >> 1 ^ polynomial : c >> 1;
        table[0][i] = c;
    }
    for (size_t i = 0; i < 256; i++)
        for (size_t t = 1; t < TABLES; t++)
            table[t][i] = table[t - 1][i] >> 8 ^ table[0][table[t - 1][i] & 255];
}

static void fill_all(void) {
    fill(crc32c_table, 0x82F63B78u);
    fill(crc64_table, CRC64_POLYNOMIAL);
}

static uint64_t update(uint64_t table[TABLES][256], uint64_t crc, struct slice in) {
    const uint8_t *p = in.data;
    size_t n = in.len;
    for (; n >= TABLES; p += TABLES, n -= TABLES) {
        uint64_t a = crc ^ (p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24 |
                            (uint64_t)p[4] << 32 | (uint64_t)p[5] << 40 | (uint64_t)p[6] << 48 | (uint64_t)p[7] << 56);
        crc = table[7][a & 255] ^ table[6][a >> 8 & 255] ^ table[5][a >> 16 & 255] ^ table[4][a >> 24 & 255] ^
              table[3][a >> 32 & 255] ^ table[2][a >> 40 & 255] ^ table[1][a >> 48 & 255] ^ table[0][a >> 56];
    }
    for (; n > 0; p++, n--)
        crc = crc >> 8 ^ table[0][(crc ^ *p) & 255];
    return crc;
}

uint32_t crc32_update(uint32_t crc, struct slice in) {
    /* To zlib, no data at all means the initial value. */
    return in.len == 0 ? crc : (uint32_t)crc32_z(crc, in.data, in.len);
}

uint32_t crc32c_update(uint32_t crc, struct slice in) {
    pthread_once(&tables_once, fill_all);
    return ~(uint32_t)update(crc32c_table, (uint32_t)~crc, in);
}

uint64_t crc64nvme_update(uint64_t crc, struct slice in) {
    pthread_once(&tables_once, fill_all);
    return ~update(crc64_table, ~crc, in);
}

/* Polynomials modulo that of CRC64, in the reflected form: the highest bit is x to the power of 0. */
static uint64_t multiply(uint64_t a, uint64_t b) {
    uint64_t product = 0;
    for (; a != 0; a <<= 1) {
        if (a >> 63) product ^= b;
        b = b & 1 ? b >> 1 ^ CRC64_POLYNOMIAL : b >> 1;
    }
    return product;
}

uint64_t crc64nvme_join(uint64_t of_a, uint64_t of_b, uint64_t b_bytes) {
    /* B moves A up by eight powers of x for each of its bytes. What CRCs are begun and ended with cancels out. */
    uint64_t shift = (uint64_t)1 << 63, power = (uint64_t)1 << 55; /* x^0, x^8 */
    for (; b_bytes != 0; b_bytes >>= 1) {
        if (b_bytes & 1) shift = multiply(shift, power);
        power = multiply(power, power);
    }
    return multiply(shift, of_a) ^ of_b;
}
