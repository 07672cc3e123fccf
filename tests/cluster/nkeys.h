/* nkeys.h - NATS' keys and tokens for a test, made when it runs: an operator, an account of it, and users' files of
 * credentials, as the program nsc makes them. */
#ifndef TESTS_CLUSTER_NKEYS_H
#define TESTS_CLUSTER_NKEYS_H

#include <openssl/evp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

enum nkey_kind {
    NKEY_ACCOUNT = 0,
    NKEY_OPERATOR = 14 << 3,
    NKEY_USER = 20 << 3,
    NKEY_SEED = 18 << 3
};

struct nkey {
    EVP_PKEY *pair;
    char public[64], seed[64];
};

static uint16_t nkey_crc(const uint8_t *data, size_t size) /* XMODEM's */
{
    uint16_t crc = 0;
    for (size_t i = 0; i < size; i++) {
        crc ^= (uint16_t)(data[i] << 8);
        for (int bit = 0; bit < 8; bit++)
            crc = (uint16_t)(crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1);
    }
    return crc;
}

/* A text of `bits` bits a letter, without padding; `size` has room for two bytes more. */
static void nkey_letters(char *to, const uint8_t *data, size_t size, unsigned bits,
                         const char *letters)
{
    uint32_t all = 0;
    unsigned have = 0;
    for (size_t i = 0; i < size; i++) {
        all = all << 8 | data[i];
        for (have += 8; have >= bits; have -= bits)
            *to++ = letters[all >> (have - bits) & ((1u << bits) - 1)];
    }
    if (have > 0) *to++ = letters[all << (bits - have) & ((1u << bits) - 1)];
    *to = 0;
}

static void nkey_base32(char *to, uint8_t *data, size_t size)
{
    uint16_t crc = nkey_crc(data, size);
    data[size] = (uint8_t)crc;
    data[size + 1] = (uint8_t)(crc >> 8);
    nkey_letters(to, data, size + 2, 5, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567");
}

static void nkey_base64(char *to, const void *data, size_t size)
{
    nkey_letters(to, data, size, 6,
                 "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_");
}

static struct nkey nkey_make(enum nkey_kind kind)
{
    struct nkey key = {NULL, "", ""};
    uint8_t data[40];
    size_t size = 32;

    key.pair = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    assert_non_null(key.pair);
    data[0] = (uint8_t)kind;
    assert_int_equal(EVP_PKEY_get_raw_public_key(key.pair, data + 1, &size), 1);
    nkey_base32(key.public, data, 33);
    data[0] = (uint8_t)(NKEY_SEED | kind >> 5);
    data[1] = (uint8_t)((kind & 31) << 3);
    assert_int_equal(EVP_PKEY_get_raw_private_key(key.pair, data + 2, &size), 1);
    nkey_base32(key.seed, data, 34);
    return key;
}

static void nkey_sign(const struct nkey *by, const void *data, size_t size, uint8_t signature[64])
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    size_t length = 64;
    assert_int_equal(EVP_DigestSignInit(context, NULL, NULL, NULL, by->pair), 1);
    assert_int_equal(EVP_DigestSign(context, signature, &length, data, size), 1);
    EVP_MD_CTX_free(context);
}

/* What `by` says of `about`: `nats` is the part that is NATS' own; it is good for `seconds`, 0: for ever. */
static void nkey_token(char *to, const struct nkey *by, const struct nkey *about, const char *nats,
                       long seconds)
{
    static const char header[] = "{\"typ\":\"JWT\",\"alg\":\"ed25519-nkey\"}";
    char claims[1024], until[40] = "";
    uint8_t signature[64];
    long now = (long)time(NULL);

    if (seconds) snprintf(until, sizeof until, "\"exp\":%ld,", now + seconds);
    snprintf(claims, sizeof claims,
             "{\"jti\":\"a-test\",\"iat\":%ld,%s\"iss\":\"%s\",\"name\":\"test\",\"sub\":\"%s\","
             "\"nats\":%s}",
             now - 60, until, by->public, about->public, nats);
    nkey_base64(to, header, strlen(header));
    strcat(to, ".");
    nkey_base64(to + strlen(to), claims, strlen(claims));
    nkey_sign(by, to, strlen(to), signature);
    strcat(to, ".");
    nkey_base64(to + strlen(to), signature, sizeof signature);
}

static void nkey_write_credentials(const char *path, const char *token, const char *seed)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file,
            "-----BEGIN NATS USER JWT-----\n%s\n------END NATS USER JWT------\n\n"
            "-----BEGIN USER NKEY SEED-----\n%s\n------END USER NKEY SEED------\n",
            token, seed);
    assert_int_equal(fclose(file), 0);
}

#endif
