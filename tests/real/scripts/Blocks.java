// SPDX-License-Identifier: MIT
// Direct buffers, compression, threads and sorts; heaps are Java's own, what is native is malloc's.
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Arrays;
import java.util.stream.IntStream;
import java.util.zip.CRC32;
import java.util.zip.Deflater;

public class Blocks {
    static long work(int seed) {
        CRC32 crc = new CRC32();
        for (int i = 1; i <= 8; i++) {
            ByteBuffer buffer = ByteBuffer.allocateDirect(i << 19);
            for (int at = 0; at < buffer.capacity(); at += 8) buffer.putLong(at, (long) at * seed);
            crc.update(buffer);
        }
        return crc.getValue();
    }

    public static void main(String[] args) throws Exception {
        IntStream.range(1, 9).parallel().mapToLong(Blocks::work).sorted().forEachOrdered(System.out::println);
        int[] numbers = IntStream.range(0, 3_000_000).map(i -> i * 7919).toArray();
        Arrays.parallelSort(numbers);
        byte[] text = "some text to compress ".repeat(200_000).getBytes(), packed = new byte[text.length];
        Deflater deflater = new Deflater();
        deflater.setInput(text);
        deflater.finish();
        System.out.println(numbers[12345] + " " + deflater.deflate(packed));
        try (FileChannel file = FileChannel.open(Path.of("file"), StandardOpenOption.CREATE, StandardOpenOption.READ, StandardOpenOption.WRITE)) {
            file.write(ByteBuffer.wrap(text));
            System.out.println(file.size());
        }
        Process child = new ProcessBuilder("cat", "file").redirectErrorStream(true).start();
        System.out.println(child.getInputStream().readAllBytes().length + " " + child.waitFor());
    }
}
