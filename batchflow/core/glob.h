/* File patterns, component by component, as a bit mask of the places that a path can stand at.
 *
 * Bit k of a mask says: what follows must match components k, k+1, ...  A step feeds one name of the path and tells
 * whether the path may end here (accept) and the mask for what is below, if the name is a folder (next).
 *
 *   *      any characters            ?      one character (UTF-8; a byte that is not UTF-8 is one character)
 *   [a-z]  one of; [!a-z] none of    **     as a whole component: any number of folders
 *
 * As in Python's glob, a name that starts with a dot is matched only by a component that starts with one.
 * Time is at most |component| * |name| for each name: one place to come back to, never a search tree.
 */
#ifndef BF_GLOB_H
#define BF_GLOB_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define BF_GLOB_COMPONENTS_MAX 63

typedef enum { BF_GLOB_ANY_FOLDERS, BF_GLOB_ALL, BF_GLOB_SUFFIX, BF_GLOB_LITERAL, BF_GLOB_GENERAL } bf_glob_kind;

typedef struct {
    bf_glob_kind kind;
    bool takes_hidden;
    const uint8_t *text; /* SUFFIX: what stands behind the star */
    size_t length;
} bf_glob_component;

typedef struct {
    int count; /* the last component is never ANY_FOLDERS */
    bf_glob_component component[BF_GLOB_COMPONENTS_MAX];
} bf_glob;

typedef struct {
    bool accept;
    uint64_t next;
    bool hidden; /* it would match if it did not start with a dot ... */
    bool hidden_folder; /* ... as a folder */
} bf_glob_step_result;

static void bf_glob_compile(bf_glob_component *component, const uint8_t *text, size_t length)
{
    component->takes_hidden = length > 0 && text[0] == '.';
    component->text = text;
    component->length = length;
    size_t special = 0, stars = 0;
    for (size_t i = 0; i < length; i++) {
        special += text[i] == '?' || text[i] == '[';
        stars += text[i] == '*';
    }
    if (length == 2 && stars == 2)
        component->kind = BF_GLOB_ANY_FOLDERS;
    else if (length == 1 && stars == 1)
        component->kind = BF_GLOB_ALL;
    else if (!special && !stars)
        component->kind = BF_GLOB_LITERAL;
    else if (!special && stars == 1 && text[0] == '*' && (text[1] & 0xC0) != 0x80) {
        component->kind = BF_GLOB_SUFFIX;
        component->text++;
        component->length--;
    } else
        component->kind = BF_GLOB_GENERAL;
}

/* The character at *at, which moves behind it; a byte that is no UTF-8 becomes 0xDC00 + byte, as surrogateescape. */
static uint32_t bf_glob_character(const uint8_t **at, const uint8_t *end)
{
    const uint8_t *p = *at;
    uint32_t lead = p[0];
    *at = p + 1;
    if (lead < 0x80)
        return lead;
    int more = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : 1;
    if (lead < 0xC2 || lead > 0xF4 || end - p <= more)
        return 0xDC00 + lead;
    uint32_t value = lead & (0x3Fu >> more);
    for (int i = 1; i <= more; i++) {
        if ((p[i] & 0xC0) != 0x80)
            return 0xDC00 + lead;
        value = value << 6 | (p[i] & 0x3F);
    }
    if ((more == 2 && (value < 0x800 || (value >= 0xD800 && value <= 0xDFFF)))
        || (more == 3 && (value < 0x10000 || value > 0x10FFFF)))
        return 0xDC00 + lead;
    *at = p + 1 + more;
    return value;
}

/* Where the class that opens at `open` closes, or NULL: then the bracket is an ordinary character. */
static const uint8_t *bf_glob_class_end(const uint8_t *open, const uint8_t *end)
{
    const uint8_t *p = open + 1;
    if (p < end && *p == '!')
        p++;
    if (p < end && *p == ']')
        p++;
    return p < end ? memchr(p, ']', (size_t)(end - p)) : NULL;
}

static bool bf_glob_class_has(const uint8_t *open, const uint8_t *close, uint32_t character)
{
    const uint8_t *p = open + 1;
    bool negated = *p == '!';
    p += negated;
    bool found = false;
    while (p < close) {
        uint32_t low = bf_glob_character(&p, close), high = low;
        if (close - p >= 2 && *p == '-') {
            p++;
            high = bf_glob_character(&p, close);
        }
        found |= low <= character && character <= high;
    }
    return found != negated;
}

static bool bf_glob_match_general(const uint8_t *p, const uint8_t *p_end, const uint8_t *n, const uint8_t *n_end)
{
    const uint8_t *star = NULL, *star_name = NULL;
    while (n < n_end) {
        if (p < p_end) {
            if (*p == '*') {
                star = ++p;
                star_name = n;
                continue;
            }
            const uint8_t *p_next = p, *n_next = n, *close;
            uint32_t character = bf_glob_character(&n_next, n_end);
            bool same;
            if (*p == '?') {
                same = true;
                p_next = p + 1;
            } else if (*p == '[' && (close = bf_glob_class_end(p, p_end)) != NULL) {
                same = bf_glob_class_has(p, close, character);
                p_next = close + 1;
            } else
                same = bf_glob_character(&p_next, p_end) == character;
            if (same) {
                p = p_next;
                n = n_next;
                continue;
            }
        }
        if (!star)
            return false;
        /* Only the last star can usefully take one character more. */
        bf_glob_character(&star_name, n_end);
        n = star_name;
        p = star;
    }
    while (p < p_end && *p == '*')
        p++;
    return p == p_end;
}

static inline bool bf_glob_match(const bf_glob_component *component, const uint8_t *name, size_t length)
{
    switch (component->kind) {
    case BF_GLOB_ALL:
        return true;
    case BF_GLOB_LITERAL:
        return length == component->length && !memcmp(name, component->text, length);
    case BF_GLOB_SUFFIX:
        return length >= component->length
            && !memcmp(name + length - component->length, component->text, component->length);
    case BF_GLOB_GENERAL:
        return bf_glob_match_general(component->text, component->text + component->length, name, name + length);
    default:
        return false;
    }
}

/* The mask that stands at component `index`: any number of folders can also be none. */
static inline uint64_t bf_glob_mask(const bf_glob *glob, int index)
{
    uint64_t mask = (uint64_t)1 << index;
    while (index < glob->count && glob->component[index].kind == BF_GLOB_ANY_FOLDERS)
        mask |= (uint64_t)1 << ++index;
    return mask;
}

static inline bf_glob_step_result bf_glob_step(const bf_glob *glob, uint64_t mask, const uint8_t *name, size_t length)
{
    bf_glob_step_result result = {false, 0, false, false};
    bool hidden = length > 0 && name[0] == '.';
    for (; mask; mask &= mask - 1) {
        int index = __builtin_ctzll(mask);
        const bf_glob_component *component = &glob->component[index];
        bool any_folders = component->kind == BF_GLOB_ANY_FOLDERS;
        if (!any_folders && !bf_glob_match(component, name, length))
            continue;
        bool last = index + 1 == glob->count;
        if (hidden && !component->takes_hidden) {
            result.hidden |= last;
            result.hidden_folder |= !last;
        } else if (any_folders)
            result.next |= bf_glob_mask(glob, index);
        else if (last)
            result.accept = true;
        else
            result.next |= bf_glob_mask(glob, index + 1);
    }
    return result;
}

#endif
