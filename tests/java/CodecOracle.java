import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.File;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.lang.reflect.Method;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.jar.JarEntry;
import java.util.jar.JarFile;
import org.apache.kafka.common.errors.RetriableException;
import org.apache.kafka.common.message.ApiMessageType;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.ApiMessage;
import org.apache.kafka.common.protocol.ByteBufferAccessor;
import org.apache.kafka.common.protocol.Errors;
import org.apache.kafka.common.protocol.Message;
import org.apache.kafka.common.protocol.MessageUtil;
import org.apache.kafka.common.protocol.ObjectSerializationCache;
import org.apache.kafka.common.protocol.types.ArrayOf;
import org.apache.kafka.common.protocol.types.BoundField;
import org.apache.kafka.common.protocol.types.CompactArrayOf;
import org.apache.kafka.common.protocol.types.Field;
import org.apache.kafka.common.protocol.types.NullableSchema;
import org.apache.kafka.common.protocol.types.Schema;
import org.apache.kafka.common.protocol.types.TaggedFields;
import org.apache.kafka.common.protocol.types.Type;
import org.apache.kafka.server.common.ApiMessageAndVersion;
import org.apache.kafka.server.common.serialization.AbstractApiMessageSerde;

/**
 * Kafka's own message classes as an oracle for another codec, over stdin and stdout.
 *
 * First tells the tables of APIs and error codes. Then, for every class that has a JSON converter and every version of it: describes the schema, then makes random messages by
 * walking the schema, reads them with the class, writes them (that is what the other side gets), reads what the other side
 * wrote back, and compares bytes and JSON. Each message is also asked for in another version, which either works on both
 * sides, with the same bytes, or on none. Records go over once more as their topic has them.
 *
 * Arguments: the directory of the jars, a seed, how many messages for each class and version.
 */
public final class CodecOracle {
    private static final int END = 0, SCHEMA = 1, DEFAULT = 2, CASE = 3, TABLES = 4, FRAMED = 5;

    private static DataInputStream in;
    private static DataOutputStream out;
    private static long cases = 0;
    private static long failures = 0;
    private static final Set<String> reported = new HashSet<>();
    private static final StringBuilder report = new StringBuilder();

    public static void main(String[] args) throws Exception {
        // Whatever a library prints must not mix with the protocol.
        out = new DataOutputStream(new BufferedOutputStream(new FileOutputStream(FileDescriptor.out), 1 << 16));
        System.setOut(System.err);
        in = new DataInputStream(new BufferedInputStream(System.in, 1 << 16));
        long seed = Long.parseLong(args[1]);
        int rounds = Integer.parseInt(args[2]);
        tables();
        List<String> classes = messageClasses(new File(args[0]));
        int versions = 0;
        for (String name : classes) {
            Class<?> type = Class.forName(name);
            Schema[] schemas = (Schema[]) type.getField("SCHEMAS").get(null);
            short min = type.getField("LOWEST_SUPPORTED_VERSION").getShort(null);
            short max = type.getField("HIGHEST_SUPPORTED_VERSION").getShort(null);
            Method toJson = Class.forName(name + "JsonConverter").getMethod("write", type, short.class);
            for (short version = min; version <= max; version++) {
                versions++;
                describe(type, schemas[version], version);
                defaults(type, version);
                Random random = new Random(seed * 31 + name.hashCode() * 1009L + version);
                for (int round = 0; round < rounds; round++) {
                    short other = (short) (min + random.nextInt(max - min + 1));
                    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
                    randomStruct(schemas[version], random, new DataOutputStream(bytes));
                    oneCase(type, toJson, version, other, bytes.toByteArray());
                }
            }
        }
        out.writeByte(END);
        out.writeInt(classes.size());
        out.writeInt(versions);
        out.writeLong(cases);
        out.writeLong(failures);
        text(report.toString());
        out.flush();
    }

    /** The APIs and error codes, a line each. */
    private static void tables() throws IOException {
        StringBuilder tables = new StringBuilder();
        for (ApiKeys api : ApiKeys.values()) {
            short min = api.messageType.lowestSupportedVersion();
            short max = api.messageType.highestSupportedVersion(true);
            if (max < min) {
                continue; // removed, like LeaderAndIsr
            }
            tables.append(api.id).append(' ').append(api.name).append(' ').append(min).append(' ').append(max)
                .append(" stable ").append(api.messageType.highestSupportedVersion(false))
                .append(api.clusterAction ? " cluster" : "")
                .append(api.inScope(ApiMessageType.ListenerType.BROKER) ? " broker" : "")
                .append(api.inScope(ApiMessageType.ListenerType.CONTROLLER) ? " controller" : "");
            for (short version = min; version <= max; version++) {
                tables.append(' ').append(api.requestHeaderVersion(version)).append('/').append(api.responseHeaderVersion(version));
            }
            tables.append('\n');
        }
        for (Errors error : Errors.values()) {
            boolean retriable = error.exception() instanceof RetriableException;
            tables.append(error.code()).append(' ').append(error.name()).append(retriable ? " retriable" : "").append('\n');
        }
        out.writeByte(TABLES);
        text(tables.toString());
    }

    /** Every class with a JSON converter in Kafka's jars, by name. */
    private static List<String> messageClasses(File jars) throws IOException {
        TreeSet<String> names = new TreeSet<>();
        String suffix = "JsonConverter.class";
        for (File jar : jars.listFiles((dir, file) -> file.startsWith("kafka") && file.endsWith(".jar"))) {
            try (JarFile opened = new JarFile(jar)) {
                for (JarEntry entry : Collections.list(opened.entries())) {
                    String path = entry.getName();
                    if (path.endsWith(suffix) && !path.contains("$")) {
                        names.add(path.substring(0, path.length() - suffix.length()).replace('/', '.'));
                    }
                }
            }
        }
        return new ArrayList<>(names);
    }

    private static void describe(Class<?> type, Schema schema, short version) throws IOException {
        StringBuilder description = new StringBuilder();
        describeStruct(schema, description);
        head(SCHEMA, type, version);
        text(description.toString());
    }

    private static void describeStruct(Schema schema, StringBuilder to) {
        to.append('{');
        for (BoundField field : schema.fields()) {
            if (field.def.type instanceof TaggedFields) {
                for (Map.Entry<Integer, Field> tagged : new TreeMap<>(((TaggedFields) field.def.type).fields()).entrySet()) {
                    to.append(tagged.getKey()).append("->");
                    describeField(tagged.getValue(), to);
                }
                to.append("tags");
            } else {
                describeField(field.def, to);
            }
        }
        to.append('}');
    }

    private static void describeField(Field field, StringBuilder to) {
        to.append(field.name.replace("_", "").toLowerCase()).append(':');
        describeType(field.type, to);
        to.append(' ');
    }

    private static void describeType(Type type, StringBuilder to) {
        if (type.isArray()) {
            to.append(type instanceof CompactArrayOf ? "COMPACT_" : "").append(type.isNullable() ? "NULLABLE_" : "").append('[');
            describeType(type.arrayElementType().get(), to);
            to.append(']');
        } else if (type instanceof Schema) {
            to.append(type instanceof NullableSchema ? "NULLABLE_" : "");
            describeStruct((Schema) type, to);
        } else {
            to.append(type);
        }
    }

    /** The message with all defaults, in a version where it may be that some must not be null. */
    private static void defaults(Class<?> type, short version) throws Exception {
        head(DEFAULT, type, version);
        out.flush();
        byte[] expected = write((Message) type.getConstructor().newInstance(), version);
        compare(type, version, "the defaults", expected, answer());
    }

    private static void oneCase(Class<?> type, Method toJson, short version, short other, byte[] random) throws Exception {
        Message message = read(type, random, version);
        byte[] bytes = write(message, version);
        Object json = toJson.invoke(null, message, version);
        byte[] inOther = write(message, other);
        head(CASE, type, version);
        bytes(bytes);
        out.writeShort(other);
        out.flush();
        cases++;
        byte[] theirs = answer();
        compare(type, version, "the same version", bytes, theirs);
        if (theirs != null) {
            Object theirJson = toJson.invoke(null, read(type, theirs, version), version);
            if (!theirJson.equals(json)) {
                fail(type, version, "JSON", json.toString(), theirJson.toString());
            }
        }
        compare(type, version, "version " + other, inOther, answer());
        byte[] framed = framed((ApiMessage) message, version);
        if (framed != null) {
            head(FRAMED, type, version);
            bytes(framed);
            out.flush();
            compare(type, version, "as a record of its topic", framed, answer());
        }
    }

    /** A record as its topic has it, with what stands before it in key or value; null for what is no record. */
    private static byte[] framed(ApiMessage message, short version) {
        String where = message.getClass().getName();
        if (where.contains(".common.metadata.") || where.contains(".log.remote.") && where.endsWith("Record")) {
            AbstractApiMessageSerde serde = new AbstractApiMessageSerde() {
                @Override
                public ApiMessage apiMessageFor(short apiKey) {
                    throw new UnsupportedOperationException();
                }
            };
            ApiMessageAndVersion record = new ApiMessageAndVersion(message, version);
            ObjectSerializationCache cache = new ObjectSerializationCache();
            ByteBuffer buffer = ByteBuffer.allocate(serde.recordSize(record, cache));
            serde.write(record, cache, new ByteBufferAccessor(buffer));
            return buffer.array();
        }
        if (where.contains(".coordinator.") && where.endsWith("Key")) {
            return MessageUtil.toCoordinatorTypePrefixedBytes(message);
        }
        if (where.contains(".coordinator.") && where.endsWith("Value")) {
            return MessageUtil.toVersionPrefixedBytes(version, message);
        }
        return null;
    }

    private static Message read(Class<?> type, byte[] bytes, short version) throws Exception {
        Message message = (Message) type.getConstructor().newInstance();
        ByteBufferAccessor buffer = new ByteBufferAccessor(ByteBuffer.wrap(bytes));
        message.read(buffer, version);
        if (buffer.remaining() != 0) {
            throw new IllegalStateException(type + " " + version + ": " + buffer.remaining() + " bytes left");
        }
        return message;
    }

    /** The message's bytes, or null if it cannot be written in that version. */
    private static byte[] write(Message message, short version) {
        try {
            ObjectSerializationCache cache = new ObjectSerializationCache();
            ByteBuffer buffer = ByteBuffer.allocate(message.size(cache, version));
            message.write(new ByteBufferAccessor(buffer), cache, version);
            return Arrays.copyOf(buffer.array(), buffer.position());
        } catch (org.apache.kafka.common.errors.UnsupportedVersionException | NullPointerException e) {
            return null;
        }
    }

    // ------------------------------------------------------------------------------------------------ random messages

    private static void randomStruct(Schema schema, Random random, DataOutputStream to) throws IOException {
        for (BoundField field : schema.fields()) {
            if (field.def.type instanceof TaggedFields) {
                randomTags((TaggedFields) field.def.type, random, to);
            } else {
                randomValue(field.def.type, random, to, false);
            }
        }
    }

    private static void randomTags(TaggedFields tags, Random random, DataOutputStream to) throws IOException {
        TreeMap<Integer, byte[]> values = new TreeMap<>();
        for (Map.Entry<Integer, Field> tagged : tags.fields().entrySet()) {
            if (random.nextBoolean()) {
                ByteArrayOutputStream value = new ByteArrayOutputStream();
                randomValue(tagged.getValue().type, random, new DataOutputStream(value), true);
                values.put(tagged.getKey(), value.toByteArray());
            }
        }
        if (random.nextInt(8) == 0) {
            for (int unknown = random.nextInt(3); unknown >= 0; unknown--) {
                byte[] value = new byte[random.nextInt(200)];
                random.nextBytes(value);
                values.put(50 + random.nextInt(1 << random.nextInt(26)), value);
            }
        }
        varint(values.size(), to);
        for (Map.Entry<Integer, byte[]> value : values.entrySet()) {
            varint(value.getKey(), to);
            varint(value.getValue().length, to);
            to.write(value.getValue());
        }
    }

    private static void randomValue(Type type, Random random, DataOutputStream to, boolean tagged) throws IOException {
        boolean isNull = type.isNullable() && random.nextInt(4) == 0;
        if (type instanceof Schema) {
            if (type.isNullable()) {
                // The classes write presence as a byte, but as a varint in a tagged field.
                to.writeByte(isNull ? (tagged ? 0 : -1) : 1);
            }
            if (!isNull) {
                randomStruct((Schema) type, random, to);
            }
            return;
        }
        if (type.isArray()) {
            int count = random.nextInt(40) == 0 ? 130 : random.nextInt(4);
            // Elements that nest are large: keep long arrays flat.
            if (type.arrayElementType().get() instanceof Schema) {
                count = Math.min(count, 3);
            }
            length(type instanceof CompactArrayOf, 4, isNull ? -1 : count, to);
            for (int element = 0; !isNull && element < count; element++) {
                randomValue(type.arrayElementType().get(), random, to, false);
            }
            return;
        }
        String name = type.toString();
        boolean compact = name.startsWith("COMPACT_");
        if (name.endsWith("STRING")) {
            byte[] text = randomText(random).getBytes(StandardCharsets.UTF_8);
            length(compact, 2, isNull ? -1 : text.length, to);
            to.write(isNull ? new byte[0] : text);
        } else if (name.endsWith("BYTES") || name.endsWith("RECORDS")) {
            byte[] bytes = new byte[random.nextInt(30) == 0 ? 900 + random.nextInt(3000) : random.nextInt(20)];
            random.nextBytes(bytes);
            length(compact, 4, isNull ? -1 : bytes.length, to);
            to.write(isNull ? new byte[0] : bytes);
        } else if (type == Type.BOOLEAN) {
            to.writeBoolean(random.nextBoolean());
        } else {
            randomNumber(sizeOf(type), random, to);
        }
    }

    private static int sizeOf(Type type) {
        if (type == Type.INT8) return 1;
        if (type == Type.INT16 || type == Type.UINT16) return 2;
        if (type == Type.INT32 || type == Type.UNSIGNED_INT32) return 4;
        if (type == Type.INT64 || type == Type.FLOAT64) return 8;
        if (type == Type.UUID) return 16;
        throw new IllegalArgumentException(type.toString());
    }

    private static void randomNumber(int size, Random random, DataOutputStream to) throws IOException {
        byte[] number = new byte[size];
        switch (random.nextInt(6)) {
            case 0: break; // zero
            case 1: Arrays.fill(number, (byte) 0xff); break; // -1
            case 2: number[0] = (byte) 0x80; break; // the least
            default: random.nextBytes(number);
        }
        to.write(number);
    }

    private static String randomText(Random random) {
        String[] alphabet = {"a", "B", "7", ".", "_", "-", "\u00e4", "\u65e5", "\ud83d\ude00", " ", "\n", "\""};
        int length = random.nextInt(40) == 0 ? 120 + random.nextInt(200) : random.nextInt(9);
        StringBuilder text = new StringBuilder();
        for (int i = 0; i < length; i++) {
            text.append(alphabet[random.nextInt(alphabet.length)]);
        }
        return text.toString();
    }

    private static void length(boolean compact, int size, int length, DataOutputStream to) throws IOException {
        if (compact) {
            varint(length + 1, to);
        } else if (size == 2) {
            to.writeShort(length);
        } else {
            to.writeInt(length);
        }
    }

    private static void varint(int value, DataOutputStream to) throws IOException {
        for (; (value & ~0x7f) != 0; value >>>= 7) {
            to.writeByte(value & 0x7f | 0x80);
        }
        to.writeByte(value);
    }

    // -------------------------------------------------------------------------------------------------- the other side

    private static void head(int kind, Class<?> type, short version) throws IOException {
        out.writeByte(kind);
        text(type.getSimpleName());
        out.writeShort(version);
    }

    private static void text(String text) throws IOException {
        bytes(text.getBytes(StandardCharsets.UTF_8));
    }

    private static void bytes(byte[] bytes) throws IOException {
        out.writeInt(bytes.length);
        out.write(bytes);
    }

    /** What the other side wrote, or null if it could not. */
    private static byte[] answer() throws IOException {
        int length = in.readInt();
        return length < 0 ? null : in.readNBytes(length);
    }

    private static void compare(Class<?> type, short version, String what, byte[] expected, byte[] actual) {
        if (!Arrays.equals(expected, actual)) {
            fail(type, version, what, hex(expected), hex(actual));
        }
    }

    private static void fail(Class<?> type, short version, String what, String expected, String actual) {
        failures++;
        // One example of each kind of difference of a class is enough.
        if (reported.add(type.getSimpleName() + what.replaceAll("[0-9]", ""))) {
            report.append(type.getSimpleName()).append(' ').append(version).append(", ").append(what)
                .append("\n  Kafka:   ").append(expected).append("\n  Trialog: ").append(actual).append('\n');
        }
    }

    private static String hex(byte[] bytes) {
        if (bytes == null) {
            return "cannot be written";
        }
        StringBuilder hex = new StringBuilder();
        for (byte one : bytes) {
            hex.append(String.format("%02x", one));
        }
        return hex.toString();
    }
}
